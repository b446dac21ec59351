"""From files, folders and hub names to records: nothing is lost without a line that says so."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from ftkit import hub
from ftkit.data.reading import read
from ftkit.errors import Refusal

GOOD = [{"question": f"q{n}", "answer": f"a{n}"} for n in range(5)]
RECORDS = [{"instruction": f"q{n}", "input": "", "output": f"a{n}"} for n in range(5)]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def test_good_rows_become_records_and_the_file_is_described(tmp_path):
    path = written(tmp_path / "a.json", lines(GOOD))
    reading = read(path)
    assert reading.records == RECORDS
    assert reading.files == [{
        "name": "a.json", "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "encoding": "utf-8",
        "format": "jsonl", "rows": 5, "rejected": 0, "mapping": reading.mapping}]
    assert reading.mapping["instruction"] == "question"
    assert str(reading) == "5 records from 1 file(s); set aside: none"


def test_every_bad_row_is_set_aside_with_file_line_field_and_reason(tmp_path):
    text = lines(GOOD[:2]) + '{"question": "q"\n' + lines([{"question": "q", "answer": 3}, {"question": ""}, *GOOD[2:]])
    reading = read(written(tmp_path / "a.jsonl", text), rejected=tmp_path / "out")
    assert reading.records == RECORDS
    assert [{key: row[key] for key in ("file", "line", "field", "reason")} for row in reading.rejected] == [
        {"file": "a.jsonl", "line": 3, "field": "", "reason": "not JSON: Expecting ',' delimiter at column 17"},
        {"file": "a.jsonl", "line": 4, "field": "answer", "reason": "answer must be text, got 3."},
        {"file": "a.jsonl", "line": 5, "field": "question",
         "reason": "question must be text that is not empty, got ''."},
    ]
    kept = (tmp_path / "out" / "rejected.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in kept] == reading.rejected
    assert reading.rejected[0]["row"] == '{"question": "q"'
    assert len(reading.records) + len(reading.rejected) == reading.files[0]["rows"]
    assert "set aside: 1 x not JSON" in str(reading)


def test_half_characters_and_dates_can_be_set_aside(tmp_path):
    path = written(tmp_path / "a.jsonl", lines(GOOD[:1]) + '{"question": "\\ud83d", "answer": "a"}\n')
    reading = read(path, rejected=tmp_path)
    kept = json.loads((tmp_path / "rejected.jsonl").read_text("utf-8"))
    assert kept["row"] == reading.rejected[0]["row"] == {"question": "\ud83d", "answer": "a"}

    import datetime

    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"question": ["q", None], "answer": ["a", "b"], "when": [datetime.date(2024, 1, 2)] * 2})
    parquet.write_table(table, tmp_path / "a.parquet")
    read(tmp_path / "a.parquet", rejected=tmp_path)
    assert json.loads((tmp_path / "rejected.jsonl").read_text("utf-8"))["row"]["when"] == "2024-01-02"


def test_a_folder_is_read_in_the_order_of_names_with_a_mapping_for_each_file(tmp_path):
    written(tmp_path / "b.csv", "question,answer\nq1,a1\n")
    written(tmp_path / "a.jsonl", lines([{"prompt": "q0", "completion": "a0"}]))
    written(tmp_path / "deep" / "c.json", json.dumps(GOOD[2:]))
    written(tmp_path / "README.md", "about")
    written(tmp_path / "rejected.jsonl", "{}")
    written(tmp_path / ".hidden" / "d.json", "broken")
    reading = read(tmp_path)
    assert reading.records == RECORDS
    assert [(file["name"], file["mapping"]["instruction"]) for file in reading.files] == [
        ("a.jsonl", "prompt"), ("b.csv", "question"), ("deep/c.json", "question")]
    assert reading.skipped == ["README.md"]


def test_a_file_of_a_folder_that_is_broken_as_a_whole_is_skipped_with_the_reason(tmp_path):
    written(tmp_path / "a.csv", "question,answer\nq0,a0\n")
    for name, content in (("b.csv", "note\nx\n"), ("c.csv", "question,answer\n"), ("d.json", ""), ("~$a.csv", "x"),
                          ("dataset_infos.json", '{"default": {"features": {}}}')):
        written(tmp_path / name, content)
    reading = read(tmp_path)
    assert reading.records == RECORDS[:1]
    assert [words.split(" must")[0] for words in reading.skipped] == [
        "b.csv: columns", "c.csv", "d.json", "dataset_infos.json: columns"]
    assert "files skipped: b.csv: columns must be one of" in str(reading)


def test_columns_apply_to_every_file_and_a_late_input_column_is_not_lost(tmp_path):
    rows = [{"instruction": "q", "output": "a"}] * 1200 + [{"instruction": "q", "input": "late", "output": "a"}]
    assert read(written(tmp_path / "a.jsonl", lines(rows))).records[-1]["input"] == "late"
    written(tmp_path / "two" / "a.csv", "ask,reply\nq0,a0\n")
    written(tmp_path / "two" / "b.csv", "ask,reply,answer\nq1,a1,no\n")
    assert read(tmp_path / "two", "instruction=ask,output=reply").records == RECORDS[:2]


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_reading_stops_after_as_many_good_records_as_asked_for(tmp_path, limit):
    written(tmp_path / "a.jsonl", lines([{"question": ""}, *GOOD[:3]]))
    written(tmp_path / "b.jsonl", lines(GOOD[3:]))
    reading = read(tmp_path, limit=limit)
    assert reading.records == RECORDS[:limit]
    assert len(reading.files) == (1 if limit <= 3 else 2)


def test_a_file_that_begins_with_a_thousand_bad_lines_is_still_read(tmp_path):
    text = lines(GOOD[:1]) + "bad\n" * 1500 + lines(GOOD[1:])
    reading = read(written(tmp_path / "a.jsonl", text))
    assert (len(reading.records), len(reading.rejected)) == (5, 1500)
    head = "question,answer\n" + "one\n" * 1500
    assert len(read(written(tmp_path / "a.csv", head + "q0,a0\n")).records) == 1


def test_a_new_reading_replaces_what_an_older_one_set_aside(tmp_path):
    written(tmp_path / "out" / "rejected.jsonl", "old\n")
    read(written(tmp_path / "a.jsonl", lines(GOOD)), rejected=tmp_path / "out")
    assert (tmp_path / "out" / "rejected.jsonl").read_text("utf-8") == ""


def test_a_hub_name_is_fetched_through_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "load_dataset_records", lambda name, split: asked.append((name, split)) or GOOD)
    reading = read("owner/name:part")
    assert asked == [("owner/name:part", "train")]
    assert reading.records == RECORDS
    assert (reading.files[0]["name"], reading.files[0]["format"]) == ("owner/name:part", "hub")


def test_when_every_row_is_bad_reading_is_refused_and_the_rows_are_kept(tmp_path):
    path = written(tmp_path / "a.jsonl", lines([{"question": "q", "answer": ""}] * 3))
    with pytest.raises(Refusal, match="data must be at least one good row, got '3 rows, all of them set aside'. First, "
                                      "at 1 in a.jsonl: answer must be text that is not empty"):
        read(path, rejected=tmp_path)
    assert len((tmp_path / "rejected.jsonl").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize(("make", "sentence"), [
    ({}, "data must be a folder with files that end in .json, .jsonl, .*, got 'an empty folder'. Give the folder"),
    ({"notes.md": "x"}, r"data must be a folder with files that end in .*, got \['notes.md'\]."),
    ({"a.csv": "question,answer\n"}, "a.csv must be a file with rows, got 'a header alone'. Check that it was saved"),
    ({"b.csv": "note\nx\n"}, "b.csv: columns must be one of instruction/output"),
    ({"a.json": "[{]"}, "a.json, line 1, column 3 must be valid JSON"),
    ({"a.jsonl": b"\xff\xff\xff"}, "a.jsonl must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
])
def test_a_folder_that_cannot_be_read_is_refused(tmp_path, make, sentence):
    for name, content in make.items():
        written(tmp_path / name, content)
    with pytest.raises(Refusal, match=sentence):
        read(tmp_path)


@pytest.mark.parametrize(("source", "sentence"), [
    ("medcal.json", "data must be an existing file or folder, or a hub name .*, got .* Did you mean medical.json?"),
    ("nothing/like/it.json", "data must be an existing file or folder, or a hub name .* Check the path."),
    ("zzz", "data must be an existing file or folder, or a hub name .* Check the path."),
])
def test_a_source_that_is_not_there_is_refused_with_the_nearest_name(tmp_path, source, sentence):
    written(tmp_path / "medical.json", lines(GOOD))
    with pytest.raises(Refusal, match=sentence):
        read(tmp_path / source)


@pytest.mark.parametrize("source", [None, 5, GOOD, "", "  "])
def test_what_is_no_path_is_refused(source):
    with pytest.raises(Refusal, match="data must be the path of a file or folder, or the name of a hub data set, "
                                      "got .* Records that you have in a list are read already."):
        read(source)


def test_a_limit_below_one_is_refused(tmp_path):
    with pytest.raises(Refusal, match="limit must be 1 or more records, got 0. Leave it out to read all."):
        read(tmp_path, limit=0)


def test_the_real_medical_records_are_read_whole():
    folder = os.environ.get("FTKIT_REAL_DATA")
    if not folder:
        pytest.skip("FTKIT_REAL_DATA does not name a folder with the real data")
    from ftkit.data.splitting import duplicate_prompts, split

    reading = read(Path(folder) / "huatuo_llama_data.json")
    assert (len(reading.records), len(reading.rejected)) == (8658, 0)
    assert (reading.files[0]["format"], reading.files[0]["encoding"]) == ("jsonl", "utf-8")
    assert duplicate_prompts(reading.records) == 7
    train, held_out = split(reading.records, seed=0)
    assert (len(train), len(held_out)) == (7792, 866)
    assert not {r["instruction"] for r in train} & {r["instruction"] for r in held_out}


def test_each_record_can_say_where_it_stood(tmp_path):
    written(tmp_path / "a.csv", "question,answer\nq0,a0\n,bad\nq1,a1\n")
    written(tmp_path / "b.json", json.dumps(GOOD[2:3]))
    reading = read(tmp_path)
    assert reading.places == ["a.csv, line 2", "a.csv, line 4", "b.json, row 1"]
    assert reading.placed() == [record | {"place": place} for record, place in zip(
        RECORDS[:3], reading.places, strict=True)]
