import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from ftkit.errors import Refusal
from ftkit.runs import collect, open_run, read_card, read_trace, scrub


def opened(folder, **changes):
    given = {"parameters": {"rank": 8}, "name": "try", "seed": 3} | changes
    return open_run(folder, given.pop("parameters"), **given)


def test_a_new_run_folder_says_what_is_running(tmp_path):
    with opened(tmp_path / "deep" / "run") as run:
        card = read_card(run.folder)
    assert (card.status, card.parameters, card.seed, card.metrics) == ("running", {"rank": 8}, 3, {})
    assert card.versions["torch"] and card.hardware["cores"] and card.threads >= 1 and card.started.endswith("+00:00")


def test_records_come_back_in_order_and_to_the_last_bit(tmp_path):
    records = [{"step": 1, "loss": 0.1 + 0.2, "held_out_loss": None}, {"step": 2, "loss": 1e-300, "said": "发烧"}]
    with opened(tmp_path) as run:
        for record in records:
            run.record(record)
        assert run.trace() == records == read_trace(tmp_path)


def test_a_record_is_there_even_if_the_process_is_killed_right_after(tmp_path):
    code = ("import os, sys; from ftkit.runs import open_run; run = open_run(sys.argv[1], {}, name='x', seed=0)\n"
            "run.record({'step': 1}); os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": "src"})
    assert read_trace(tmp_path) == [{"step": 1}]
    with opened(tmp_path, parameters={}, name="x", seed=0) as run:  # the dead process's lock is taken over
        assert run.card.status == "running"


def test_a_record_that_a_kill_cut_short_is_left_out_and_written_over(tmp_path):
    with opened(tmp_path) as run:
        run.record({"step": 1})
    with (tmp_path / "trace.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert read_trace(tmp_path) == [{"step": 1}]
    with opened(tmp_path) as run:
        run.record({"step": 2})
        assert run.trace() == [{"step": 1}, {"step": 2}]


def test_what_a_kill_left_half_written_is_taken_away(tmp_path):
    opened(tmp_path).close()
    (tmp_path / ".card.json.123.partial").write_text("{")
    opened(tmp_path).close()
    assert not list(tmp_path.glob(".*.partial"))


def test_a_damaged_line_inside_a_trace_is_refused_by_its_number(tmp_path):
    opened(tmp_path).close()
    (tmp_path / "trace.jsonl").write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(Refusal, match=r"/trace\.jsonl, line 2 must be a JSON object, got .*Delete that line"):
        read_trace(tmp_path)


def test_a_trace_is_cut_back_to_a_step(tmp_path):
    with opened(tmp_path) as run:
        for step in (1, 2, 3):
            run.record({"step": step})
        assert run.cut_trace_(2) == [{"step": 1}, {"step": 2}]
        run.record({"step": 3, "again": True})
        run.sync()
        assert [record["step"] for record in run.trace()] == [1, 2, 3]


def test_a_finished_run_keeps_its_metrics_and_can_be_finished_with_more(tmp_path):
    with opened(tmp_path) as run:
        run.note({"loss": 1.0})
        assert read_card(tmp_path).status == "running"
        run.finish({"accuracy": 0.5})
    with opened(tmp_path) as run:
        run.finish({"accuracy": 0.75})
    card = read_card(tmp_path)
    assert (card.status, card.metrics) == ("done", {"loss": 1.0, "accuracy": 0.75})


def test_the_time_of_all_sessions_adds_up(tmp_path):
    with opened(tmp_path) as run:
        time.sleep(0.01)
        first = run.note({}).elapsed_s
    with opened(tmp_path) as run:
        assert run.finish().elapsed_s >= first > 0


def test_an_exception_marks_the_run_as_failed_and_opening_it_again_as_running(tmp_path):
    with pytest.raises(RuntimeError), opened(tmp_path):
        raise RuntimeError("no space in /home/ada/runs")
    card = read_card(tmp_path)
    assert (card.status, card.error) == ("failed", "RuntimeError: no space in <path>/runs")
    with opened(tmp_path) as run:
        assert (run.card.status, run.card.error) == ("running", None) and read_card(tmp_path) == run.card


def test_stopping_by_hand_is_no_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):
        raise KeyboardInterrupt
    assert read_card(tmp_path).status == "running"


@pytest.mark.parametrize("changes, words", [
    ({"parameters": {"rank": 4}}, r"got 'a run with other parameters'\. There and here: rank 8 and 4\. Choose"),
    ({"parameters": {"rank": 8, "alpha": 2}}, r"There and here: alpha None and 2\."),
    ({"seed": 4}, r"must be a new one, or hold this same run, got 'a run with other seed'\. .* seed 3 and 4\."),
    ({"data": [{"name": "x.json", "sha256": "0f" * 32}]}, r"other data'\. There and here: data none and x\.json 0f0f"),
    ({"model": "other"}, r"other model'\. There and here: model \{\} and other None\."),
])
def test_a_folder_that_holds_another_run_is_refused(tmp_path, changes, words):
    opened(tmp_path).close()
    with pytest.raises(Refusal, match=words):
        opened(tmp_path, **changes)
    opened(tmp_path).close()  # and the refusal has let go of the folder


def test_the_same_run_is_known_again_after_scrubbing(tmp_path):
    (tmp_path / "x.json").write_text("[]")
    given = {"parameters": {"data": tmp_path / "x.json", "layers": (1, 2)}, "data": [tmp_path / "x.json"]}
    opened(tmp_path / "run", **given).close()
    opened(tmp_path / "run", **given).close()


def test_a_folder_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(Refusal, match=r"run folder must be a new, an empty or a run's folder, got .*with thesis\.tex"):
        opened(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(Refusal, match=r"run folder must be a folder, got 'the file x'\. Choose another place\."):
        opened(tmp_path / "x")


def test_a_damaged_card_is_refused_when_opening(tmp_path):
    opened(tmp_path).close()
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(Refusal, match=r"card\.json must be valid JSON"):
        opened(tmp_path)


@pytest.mark.parametrize("write", [lambda run: run.record({}), lambda run: run.note({}), lambda run: run.cut_trace_(1),
                                   lambda run: run.finish(), lambda run: run.fail("x")])
def test_a_closed_run_is_not_written_to(tmp_path, write):
    run = opened(tmp_path)
    run.close()
    with pytest.raises(Refusal, match=r"must be open, got 'one that was finished, closed or opened again since'"):
        write(run)


def test_opening_again_in_the_same_process_ends_the_earlier_handle(tmp_path):
    first = opened(tmp_path)
    with opened(tmp_path) as second:
        assert second.is_open and not first.is_open
        with pytest.raises(Refusal, match="opened again since"):
            first.record({"step": 1})


def test_a_second_process_writing_to_the_same_folder_is_refused(tmp_path):
    code = ("import sys; from ftkit.errors import Refusal; from ftkit.runs import open_run\n"
            "try: open_run(sys.argv[1], {'rank': 8}, name='try', seed=3)\n"
            "except Refusal as error: print(error)")
    with opened(tmp_path):
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": "src"},
                               capture_output=True, text=True, check=True)
    assert f"must be written to by one process at a time, got 'one in use by process {os.getpid()}'" in other.stdout


def test_a_table_has_a_row_for_each_run(tmp_path):
    for rank in (4, 8):
        with opened(tmp_path / f"r{rank}", parameters={"rank": rank}) as run:
            run.finish({"accuracy": rank / 10})
    table = collect(tmp_path)
    assert list(table["run"]) == ["r4", "r8"] and list(table["param.rank"]) == [4, 8]
    assert list(table["metric.accuracy"]) == [0.4, 0.8] and set(table["status"]) == {"done"}
    assert table.attrs["unreadable"] == []


def test_one_damaged_card_does_not_hide_the_others(tmp_path):
    opened(tmp_path / "good").close()
    card = opened(tmp_path / "newer").card
    (tmp_path / "newer" / "card.json").write_text(json.dumps(asdict(card) | {"schema": 2}))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "card.json").write_bytes(b'{"schema": \xff')
    table = collect(tmp_path)
    assert list(table["run"]) == ["good"]
    unreadable = {one["run"]: one["why"] for one in table.attrs["unreadable"]}
    assert set(unreadable) == {"newer", "torn"} and "upgrade ftkit" in unreadable["newer"]


def test_a_table_of_nothing_is_empty_and_of_no_folder_is_refused(tmp_path):
    assert len(collect(tmp_path)) == 0
    with pytest.raises(Refusal, match=r"folder must be an existing folder with runs in it, got .*Check the path\."):
        collect(tmp_path / "none")


def test_no_secret_enters_a_run_folder(tmp_path):
    parameters = {"data": "/home/ada/secret project/x.json", "hf_token": "abc", "note": "ghp_0123456789abcdefghij"}
    with opened(tmp_path, parameters=parameters) as run:
        run.record({"step": 1, "answer": "see /home/ada/x and hf_abcdefghijklmnopqrst"})
        run.fail("could not reach sk-proj-abc123def456 on /Users/ada/x")
    text = "".join(path.read_text("utf-8") for path in tmp_path.glob("*.json*"))
    assert not any(word in text for word in ("/ada", "ada/", "ghp_", "hf_abc", "sk-", '"abc"', "secret project"))
    assert scrub(text) == text
