"""Steps run one after the other: the report, the files, the same bytes on any number of processes, and a kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from ftkit.data import workers
from ftkit.data.duplicates import exact_duplicates, near_duplicates
from ftkit.data.normalising import normalise
from ftkit.data.pipeline import FILES, STEPS, Prepared, prepare
from ftkit.data.quality import Limits, quality
from ftkit.data.reading import read
from ftkit.data.reports import Dropped, Report, StepReport, shown
from ftkit.data.splitting import split
from ftkit.data.workers import Workers
from ftkit.errors import Refusal

WORDS = ("fever cough water doctor rest medicine child night morning clinic throat stomach headache allergy "
         "sleep").split()


def made(count, seed=0):
    """Records of both languages with some of everything that a step looks for."""
    generator = random.Random(seed)
    records = []
    for number in range(count):
        asked = " ".join(generator.choices(WORDS, k=9)) if number % 2 else "".join(
            generator.choices("发烧头痛咳嗽怎么办患者治疗检查医院休息喝水药物每天次症状", k=25))
        told = " ".join(generator.choices(WORDS, k=15)) if number % 2 else "".join(
            generator.choices("建议多休息并且按时服用医生开的药物必要时去医院复查", k=40))
        records.append({"instruction": asked, "input": "", "output": told})
        if number % 10 == 3:
            records.append({**records[-1], "output": told + generator.choice(["。", "谢谢", " "])})
        if number % 20 == 5:
            records[-1]["output"] += f"请联系1{generator.randrange(3 * 10**9, 10**10)}"
        if number % 25 == 6:
            records.append({"instruction": asked, "input": "", "output": "哈" * 50})
    return records


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_records_go_through_all_steps_and_each_is_accounted_for(tmp_path):
    given = made(300)
    prepared = prepare(given, seed=1)
    rows = prepared.report.rows()
    assert [row["step"] for row in rows] == ["normalise", "personal", "exact duplicates", "quality", "near duplicates"]
    assert rows[0]["records_in"] == len(given)
    assert all(row["records_in"] - row["dropped"] == row["records_out"] for row in rows)
    assert all(before["records_out"] == after["records_in"] for before, after in zip(rows, rows[1:], strict=False))
    dropped = prepared.report.dropped()
    assert sorted([record["place"] for record in prepared.records] + [entry["place"] for entry in dropped]) == list(
        range(len(given)))
    assert len(prepared.train) + len(prepared.held_out) == len(prepared.records)
    assert rows[1]["notes"]["PHONE"] >= 10 and rows[3]["dropped"] >= 10
    assert all("kept" in entry for entry in dropped if "duplicate" in entry["step"])


def test_the_files_hold_what_the_report_says_and_can_be_read_back(tmp_path):
    prepared = prepare(made(200))
    folder = prepared.write(tmp_path / "ready")
    assert sorted(item.name for item in folder.iterdir()) == sorted(FILES)
    train = read(folder / "train.jsonl").records
    assert [record["output"] for record in train] == [record["output"] for record in prepared.train]
    dropped = [json.loads(line) for line in (folder / "dropped.jsonl").read_text("utf-8").splitlines()]
    assert dropped == json.loads(json.dumps(prepared.report.dropped()))
    assert {"step", "place", "reason", "record"} <= set(dropped[0])
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["steps"] == json.loads(json.dumps(prepared.report.rows())) and report["train"] == len(train)
    text = (folder / "dropped.jsonl").read_text("utf-8")
    assert "请联系1" not in text  # personal data is gone from what is dropped, too


def test_the_same_records_and_seed_give_the_same_bytes_on_any_number_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "CHUNK", 30)
    monkeypatch.setattr(workers, "FEWEST", 100)  # or one process does it all
    given = made(250)
    for processes in (1, 2, 3):
        prepare(given, seed=3, processes=processes).write(tmp_path / str(processes))
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "3")
    again = prepare(given, seed=4, processes=1)
    assert again.records == prepare(given, seed=3, processes=1).records and again.held_out != []
    assert given == made(250)  # the argument is as it was


def test_steps_are_chosen_set_and_written_by_the_user():
    def without_questions(records):
        kept = [record for record in records if "?" not in record["instruction"]]
        dropped = [Dropped(record["place"], "a question", record) for record in records if record not in kept]
        return kept, StepReport("without questions", len(records), len(kept), 0, dropped)

    given = [{"instruction": text, "input": "", "output": "yes, surely"} for text in ("a?", "b", "c", "d")]
    prepared = prepare(given, [without_questions, partial(quality, limits=Limits(shortest_answer=5))])
    assert [record["instruction"] for record in prepared.records] == ["b", "c", "d"]
    assert prepared.report.steps[0].examples() == [Dropped(0, "a question", given[0] | {"place": 0})]


def test_places_of_the_file_are_kept(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("question,answer\nq1,a1\n,a2\nq3,a3\nq1,a1\n", "utf-8")
    prepared = prepare(read(path).placed(), [normalise, exact_duplicates])
    assert [record["place"] for record in prepared.records] == ["a.csv, line 2", "a.csv, line 4"]
    entry = prepared.report.steps[1].dropped[0]
    assert (entry.place, entry.kept) == ("a.csv, line 5", "a.csv, line 2")


def test_near_questions_stay_on_one_side_and_the_shares_of_a_field_hold():
    given = [record | {"language": "en" if number % 3 else "zh"} for number, record in enumerate(made(400))]
    prepared = prepare(given, [normalise], stratify_by="language", near=0.8)
    from ftkit.data.duplicates import near_pairs

    both = prepared.train + prepared.held_out
    crossing = [pair for pair in near_pairs([record["instruction"] for record in both])
                if (pair[0] < len(prepared.train)) != (pair[1] < len(prepared.train))]
    assert crossing == []
    share = sum(record["language"] == "zh" for record in prepared.held_out) / len(prepared.held_out)
    assert abs(share - 1 / 3) < 0.1


def test_progress_is_told_step_by_step_up_to_the_end(monkeypatch):
    told = []
    monkeypatch.setattr(workers, "CHUNK", 30)
    prepare(made(250), processes=1, progress=lambda *now: told.append(now))
    for step in ("normalise", "personal", "quality", "near duplicates"):
        own = [(done, total) for name, done, total in told if name == step]
        assert own == sorted(own) and own[-1][0] == own[-1][1] > 0


def test_the_report_is_a_table_with_reasons():
    text = str(prepare(made(100)).report)
    lines = text.splitlines()
    assert lines[0].split()[:6] == ["step", "in", "out", "changed", "dropped", "why,"]
    assert len(lines) == 1 + len(STEPS) and "PHONE" in text and "repetition" in text
    report = StepReport("s", 4, 1, 0, [Dropped(n, reason, {}) for n, reason in enumerate(["a: 1", "a: 2", "b: 1"])])
    assert report.reasons() == {"a": 2, "b": 1}
    assert [entry.place for entry in report.examples(2)] == [0, 2]
    assert Report([report]).rows()[0]["dropped"] == 3
    assert shown({"instruction": "a\nb", "input": "", "output": "c" * 90, "place": "p"}).startswith("a b | ccc")


@pytest.mark.parametrize(("arguments", "words"), [
    (([],), r"records must be at least one record, got \[\]. Read some first."),
    ((made(3), ["normalise"]), r"steps\[0\] must be a function of records, got 'normalise'. Pass the"),
    ((made(3), [lambda records: records]), r"steps\[0\] must be a function that returns records and a StepReport"),
    ((made(3)[:1] * 3, [exact_duplicates]), "records must be two or more after all steps, to split them, got 1. The "
                                            "steps dropped the others: exact duplicates 2."),
])
def test_what_cannot_be_prepared_is_refused(arguments, words):
    with pytest.raises(Refusal, match=words):
        prepare(*arguments)


def test_fewer_than_one_process_is_refused():
    with pytest.raises(Refusal, match="processes must be 1 or more, got 0. Leave it out to use all cores."):
        prepare(made(3), processes=0)


def test_a_folder_with_other_things_in_it_is_not_written_over(tmp_path):
    (tmp_path / "thesis.docx").write_text("three years of work")
    prepared = Prepared([], [], [], Report([]), 0)
    with pytest.raises(Refusal, match="folder must be new, empty, or one written before, got 'one with thesis.docx'."):
        prepared.write(tmp_path)
    assert (tmp_path / "thesis.docx").read_text() == "three years of work"
    with pytest.raises(Refusal, match="folder must be a folder, new or written before, got 'the file thesis.docx'."):
        prepared.write(tmp_path / "thesis.docx")
    prepared.write(prepared.write(tmp_path / "new"))


@pytest.mark.parametrize("step", range(6))
def test_a_kill_while_writing_leaves_the_old_files_or_the_new_ones(tmp_path, monkeypatch, step):
    old, new = (prepare(made(count), [exact_duplicates], processes=1) for count in (20, 30))
    old.write(tmp_path / "ready")
    new.write(tmp_path / "other")
    want = contents(tmp_path / "ready"), contents(tmp_path / "other")
    calls, replace = [], os.replace

    def killed(*paths):
        calls.append(paths)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", killed)
    try:
        new.write(tmp_path / "ready")
    except KeyboardInterrupt:
        pass
    monkeypatch.undo()
    where = tmp_path / "ready" if (tmp_path / "ready").exists() else tmp_path / ".ready.partial"
    assert contents(where) in want
    new.write(tmp_path / "ready")
    assert contents(tmp_path / "ready") == want[1]


def alive(process_id):
    import psutil

    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE  # dead, and not yet fetched by init
    except psutil.NoSuchProcess:
        return False


def test_workers_end_when_their_parent_is_killed(tmp_path):
    program = ("import multiprocessing, time\nfrom ftkit.data.workers import Workers\n"
               "def slow(item):\n    time.sleep(0.02)\n    return item\n"
               "if __name__ == '__main__':\n"
               "    for done in Workers(2).map('slow', slow, range(100000)):\n"
               "        if done == 0:\n"
               "            print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n")
    (tmp_path / "program.py").write_text(program)
    process = subprocess.Popen([sys.executable, tmp_path / "program.py"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")})
    children = [int(word) for word in process.stdout.readline().split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 20
    while time.monotonic() < until and any(map(alive, children)):
        time.sleep(0.2)
    assert len(children) == 2 and not any(map(alive, children))


def test_items_come_back_in_order_and_an_error_of_a_worker_is_raised_here():
    assert list(Workers(3).map("absolute", abs, range(-3000, 0))) == list(range(3000, 0, -1))
    with pytest.raises(TypeError):
        list(Workers(3).map("absolute", abs, ["a"] * 3000))


def test_the_real_medical_records_go_through(tmp_path):
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with the real data")
    prepared = prepare(read(Path(folder) / "huatuo_llama_data.json").placed())
    rows = {row["step"]: row for row in prepared.report.rows()}
    assert rows["normalise"]["records_in"] == 8658
    assert sum(row["dropped"] for row in rows.values()) <= 20  # the file is clean: next to nothing may be thrown away
    assert rows["personal"]["changed"] == 0
    assert len(prepared.held_out) == round(0.1 * len(prepared.records))
    assert near_duplicates(prepared.records)[1].dropped == []


@pytest.mark.parametrize(("record", "words"), [
    ("a", "a dictionary with instruction and output, messages, or text, got 'a'. reading.read makes"),
    ([{"role": "user", "content": "q"}], "a dictionary with instruction and output, messages, or text, got"),
    ({"question": "q", "answer": "a"}, "a dictionary with instruction and output, messages, or text, got"),
    ({"instruction": "q", "output": 3}, "output must be text, got {'instruction'"),
    ({"messages": [{"role": "user", "content": None}]}, "messages must be a list of objects with a role and content"),
    ({"messages": "[]"}, "messages must be a list of objects with a role and content"),
])
def test_what_is_no_record_is_refused_by_its_number_and_place(record, words):
    with pytest.raises(Refusal) as refused:
        prepare([*made(3), record])
    assert f"records[3] must be a record: {words}" in str(refused.value)
    if isinstance(record, dict):
        with pytest.raises(Refusal, match=r"records\[0\] \(x.csv, line 7\) must be a record"):
            split([{**record, "place": "x.csv, line 7"}])


def test_a_text_with_empty_fields_beside_it_is_a_text():
    records = [{"text": f"page {number} of it", "instruction": None} for number in "abcdefgh"]
    assert len(prepare(records, near=None).records) == 8


def test_results_are_shown_in_a_few_words_and_not_with_all_their_records(tmp_path):
    prepared = prepare(made(300), [exact_duplicates], processes=1)
    assert "records to train on" in repr(prepared) and len(repr(prepared)) < 500
    assert repr(prepared.report.steps[0]).startswith("exact duplicates: 342 in, 333 out, 0 changed; ")
    assert len(repr(prepared.report)) < 400
    assert len(repr(read(prepared.write(tmp_path / "out")))) < 200


def test_what_a_kill_left_half_written_does_not_come_into_the_folder(tmp_path):
    prepared = prepare(made(20), [exact_duplicates], processes=1)
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / ".held_out.jsonl.1.partial").write_text("half")
    for _ in range(2):
        out = prepared.write(tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    os.replace(out, tmp_path / ".out.old")  # a kill between the two renames
    (out.with_name("out") / ".ipynb_checkpoints").mkdir(parents=True)
    assert sorted(path.name for path in prepared.write(out).iterdir()) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_was_written_can_be_read(tmp_path):
    prepared = prepare([*made(20), made(20)[0]], [exact_duplicates], processes=1)
    assert len(read(prepared.write(tmp_path / "out")).records) == len(prepared.records)


def test_a_column_that_is_kept_can_be_stratified_by(tmp_path):
    rows = [{"question": f"what is item {number}", "answer": f"number {number}", "科室": "AB"[number % 2]}
            for number in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    reading = read(tmp_path / "a.jsonl", keep=["科室"])
    assert reading.records[1] == {"科室": "B", "instruction": "what is item 1", "input": "", "output": "number 1"}
    held_out = prepare(reading.placed(), [exact_duplicates], stratify_by="科室", near=None).held_out
    assert sorted(record["科室"] for record in held_out) == ["A", "A", "B", "B"]
    with pytest.raises(Refusal, match=r"keep must be columns of a.jsonl \(question, answer, 科室\), got 'answr'. Did"):
        read(tmp_path / "a.jsonl", keep="answr")
