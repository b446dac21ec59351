"""The tables of the faster step: what a results file says, and that there is none."""

from ftkit.course.ladder import NOT_MEASURED, goals_table, ladder_table
from ftkit.files import write_json


def row(group, arm, speed, **more):
    status = {"status": "measured", "tokens_per_s": speed} if speed else {"status": "not measured: out of memory"}
    return {"group": group, "arm": arm, **status, **more}


def test_each_row_says_what_it_adds_and_what_it_is_worth_alone(tmp_path):
    rows = [row("headline", "none computed again", 9000.0), row("together", "logits at every position", 2000.0),
            row("together", "logits at label positions", 4000.0, matmul_share=0.2, peak_allocated_gib=9.96),
            row("together", "packed", 6000.0), row("together", "compiled", None), row("together", "chunks", 7000.0),
            row("alone", "packed", 5000.0), row("alone", "chunks", None)]
    table = ladder_table(write_json(tmp_path / "found.json", {"rows": rows, "goals": []}))
    assert table.rows == (("logits at every position", "2,000", None, None, None, None),
                          ("logits at label positions", "4,000", "2.00", None, "0.20", "10.0"),
                          ("packed", "6,000", "1.50", "1.25", None, None),
                          ("compiled", "not measured: out of memory", None, None, None, None),
                          ("chunks", "7,000", None, None, None, None))


def test_aims_stand_beside_what_was_measured(tmp_path):
    found = [{"goal": "tokens/s", "measured": 9500.0, "rule": "at least", "limit": 9000, "reached": True},
             {"goal": "peak, GiB", "measured": None, "rule": "at most", "limit": 7.5, "reached": None}]
    table = goals_table(write_json(tmp_path / "found.json", {"rows": [], "goals": found}))
    assert table.rows == (("tokens/s", "at least 9,000", "9,500.00"), ("peak, GiB", "at most 7.5", "not measured"))


def test_without_results_the_tables_say_that_nobody_has_measured(tmp_path):
    for table in (ladder_table(tmp_path / "none.json"), goals_table(tmp_path / "none.json")):
        assert [one[0] for one in table.rows] == [NOT_MEASURED]
