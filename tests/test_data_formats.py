"""Rows out of files of every format, against the standard writers, and what broken files say."""

import csv
import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from ftkit.data.formats import Row, open_rows
from ftkit.errors import Refusal
from ftkit.files import sha256

ROWS = [{"ask": "发烧\n怎么办？", "answer": 'a "quoted", comma'}, {"ask": "cough; tea", "answer": "tab\there"}]
ONE_A_LINE = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def as_csv(rows, delimiter=","):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("a.json", json.dumps(ROWS), "json"),
    ("a.json", json.dumps(ROWS, indent=2, ensure_ascii=False), "json"),
    ("a.json", json.dumps({"version": 1, "data": ROWS}), "json"),
    ("a.json", json.dumps({"records": ROWS}, indent=1), "json"),
    ("a.json", ONE_A_LINE, "jsonl"),
    ("a.jsonl", ONE_A_LINE.replace("\n", "\r\n"), "jsonl"),
    ("a.txt", "\n\n" + ONE_A_LINE, "jsonl"),
    ("a.jsonl", json.dumps(ROWS), "json"),
    ("a.csv", as_csv(ROWS), "csv"),
    ("a.csv", as_csv(ROWS, ";"), "csv"),
    ("a.tsv", as_csv(ROWS, "\t"), "tsv"),
])
def test_the_same_rows_come_out_of_every_text_format(tmp_path, name, content, kind):
    path = written(tmp_path, name, content)
    opened = open_rows(path)
    assert [row.value for row in opened.rows] == ROWS
    assert (opened.format, opened.sha256) == (kind, sha256(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_same_rows_come_out_of_every_encoding(tmp_path, encoding, kind):
    text = as_csv(ROWS) if kind == "csv" else ONE_A_LINE
    opened = open_rows(written(tmp_path, f"a.{kind}", text.encode(encoding)))
    assert [row.value for row in opened.rows] == ROWS
    assert opened.encoding == encoding


@pytest.mark.parametrize("name", ["a.parquet", "a.dat"])
def test_the_same_rows_come_out_of_parquet_whatever_its_suffix(tmp_path, name):
    talk = [[{"role": "user", "content": "a"}], None]
    table = pyarrow.table({"ask": [row["ask"] for row in ROWS], "talk": talk})
    parquet.write_table(table, tmp_path / name)
    opened = open_rows(tmp_path / name)
    assert list(opened.rows) == [Row(1, {"ask": ROWS[0]["ask"], "talk": talk[0]}),
                                 Row(2, {"ask": ROWS[1]["ask"], "talk": None})]
    assert (opened.format, opened.encoding) == ("parquet", None)


def test_a_lone_object_is_one_row_and_a_conversation_is_not_a_list_of_rows(tmp_path):
    talk = {"messages": [{"role": "user", "content": "a"}]}
    for text in (json.dumps(talk), json.dumps(talk, indent=2)):
        assert [row.value for row in open_rows(written(tmp_path, "a.json", text)).rows] == [talk]


def test_line_separators_inside_a_text_do_not_break_a_json_line(tmp_path):
    row = {"ask": "a\u2028b\x85c", "answer": "d"}
    path = written(tmp_path, "a.jsonl", json.dumps(row, ensure_ascii=False) + "\n" + ONE_A_LINE)
    assert next(open_rows(path).rows).value == row


@pytest.mark.parametrize(("line", "reason"), [
    ('{"ask": "a" "answer": 1}', "not JSON: Expecting ',' delimiter at column 13"),
    ("not a record", "not JSON: Expecting value at column 1"),
    ('["a", "b"]', "not an object with columns"),
    ('"text"', "not an object with columns"),
    ('{"ask": ' + "9" * 5000 + "}", "not JSON: Exceeds the limit"),
    ("[" * 100_000, "not JSON: maximum recursion depth exceeded"),
])
def test_a_bad_json_line_is_a_row_with_its_line_and_reason(tmp_path, line, reason):
    first, second = ONE_A_LINE.splitlines()
    rows = list(open_rows(written(tmp_path, "a.json", f"{first}\n\n{line}\n{second}\n")).rows)
    assert [row.line for row in rows] == [1, 3, 4]
    assert rows[1].reason.startswith(reason)
    assert rows[1].value == line


def test_a_bad_first_line_does_not_hide_that_the_file_is_json_lines(tmp_path):
    rows = list(open_rows(written(tmp_path, "a.json", '{"ask": \n' + ONE_A_LINE)).rows)
    assert [bool(row.reason) for row in rows] == [True, False, False]


def test_a_bad_element_of_a_json_list_is_a_row_with_its_number(tmp_path):
    opened = open_rows(written(tmp_path, "a.json", json.dumps([ROWS[0], "text"])))
    assert list(opened.rows)[1] == Row(2, "text", "not an object with columns")
    assert opened.place(2) == "row 2"


@pytest.mark.parametrize(("line", "reason"), [
    (",", ""),
    ("only one", "1 fields where the header has 2"),
    ("one,two,three", "3 fields where the header has 2"),
    ('"closed" badly,b', "not ','-separated text: ',' expected after '\"'"),
    ('"never closed,b', "not ','-separated text: "),
])
def test_a_bad_csv_line_is_a_row_with_its_line_and_reason_and_reading_goes_on(tmp_path, line, reason):
    path = written(tmp_path, "a.csv", f'ask,answer\n"two\nlines",b\n\n{line}\nc,d\n"e",f\n')
    rows = list(open_rows(path).rows)
    assert [row.line for row in rows] == [2, 5, 6, 7]
    assert rows[0].value == {"ask": "two\nlines", "answer": "b"}
    assert rows[1].reason.startswith(reason)
    assert [row.value for row in rows[2:]] == [{"ask": "c", "answer": "d"}, {"ask": "e", "answer": "f"}]


def test_a_csv_field_longer_than_the_usual_limit_is_read(tmp_path):
    path = written(tmp_path, "a.csv", "ask,answer\na," + "b" * 200_000 + "\n")
    assert len(next(open_rows(path).rows).value["answer"]) == 200_000


BAD_FILES = [
    ("a.json", b"", "a.json must be a file with rows, got '0 bytes without text'. Check that it was saved whole."),
    ("a.csv", b" \n\n", "a.csv must be a file with rows, got '3 bytes without text'."),
    ("a.json", b'[{"ask": },\n {"ask": }]', "a.json, line 1, column 10 must be valid JSON, got 'Expecting value'."),
    ("a.jsonl", b"{'ask': 'q', 'answer': 'a'}\n", "a.jsonl, line 1, column 2 must be valid JSON, .* json.dumps"),
    ("a.json", b'{"ask": "a"', "a.json, line 1, column 12 must be valid JSON, got \"Expecting ',' delimiter\"."),
    ("a.json", b"[" * 100_000, "a.json must be valid JSON, got 'maximum recursion depth exceeded"),
    ("a.json", b"[]", r"a.json must be a list of records, got \[\]. Check that it was saved whole."),
    ("a.json", b'"text"', "a.json must be a list of records, got 'text'."),
    ("a.json", json.dumps({"train": ROWS, "test": ROWS}).encode(),
     r"a.json must be a list of records, or an object with one such list, got \['test', 'train'\]. Save the one"),
    ("a.csv", b"ask,answer,ask\n1,2,3\n", r"a.csv: header must be columns with different names, got \['ask', 'answer'"),
    ("a.xlsx", b"PK\x03\x04rest", "a.xlsx must be JSON, JSON Lines, CSV, TSV or Parquet, got 'a zip archive or an"),
    ("a.json.gz", b"\x1f\x8brest", "a.json.gz must be .*, got 'a gzip archive'. Unpack it, or save it as CSV."),
    ("a.txt", b"Once upon a time", "a.txt must be .* Parquet, got 'Once upon a time'. Give it the suffix of what it"),
    ("a.parquet", b"PAR1 and no more", "a.parquet must be a readable Parquet file, got .* Write or download it again."),
    ("a.parquet", b"", "a.parquet must be a readable Parquet file, got "),
]


@pytest.mark.parametrize(("name", "content", "sentence"), BAD_FILES)
def test_a_file_that_is_broken_as_a_whole_is_refused(tmp_path, name, content, sentence):
    with pytest.raises(Refusal, match=sentence):
        list(open_rows(written(tmp_path, name, content)).rows)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refusal, match="data file must be an existing file, got .*none.json'. Check the path."):
        open_rows(tmp_path / "none.json")


BAD_ENCODINGS = [
    ("Привет, как дела".encode("cp1251"),
     r"a.csv must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252, got b'.xcf.xf0"),
    (b"\xff\xfea\x00b", "a.csv must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252, got .* Save it as UTF-8."),
    (b"\xef\xbb\xbfask\xff", "a.csv must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
    (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00",
     "a.csv must be text in UTF-8, UTF-16, GB18030, Big5 or Windows-1252"),
]


@pytest.mark.parametrize(("content", "sentence"), BAD_ENCODINGS)
def test_a_file_in_no_known_encoding_is_refused(tmp_path, content, sentence):
    with pytest.raises(Refusal, match=sentence):
        open_rows(written(tmp_path, "a.csv", content))


@pytest.mark.parametrize("content", [
    "sep=;\nask;answer\nq;a\n", '"sep=;"\r\nask;answer\r\nq;a\r\n', "ask;answer\nq;a\n", "ask|answer\nq|a\n",
    '"ask",answer,,\nq,a,,\n', "\ufeffask,answer\nq,a\n\x1a",
    '"ask","answer"\n"q","a"\n\0\0', "\n\nask,answer\nq,a\n",
])
def test_what_spreadsheets_add_to_a_csv_file_is_understood(tmp_path, content):
    opened = open_rows(written(tmp_path, "a.csv", content.encode()))
    assert [row.value for row in opened.rows] == [{"ask": "q", "answer": "a"}]


def test_a_comma_between_quotes_does_not_decide_what_separates(tmp_path):
    content = '"ask, please; now";answer\n"q, q";a\n'
    assert [row.value for row in open_rows(written(tmp_path, "a.csv", content.encode())).rows] == [
        {"ask, please; now": "q, q", "answer": "a"}]


def test_a_bad_line_after_a_sep_line_is_named_by_its_line_in_the_file(tmp_path):
    rows = list(open_rows(written(tmp_path, "a.csv", b"sep=;\nask;answer\nonly one\nq;a\n")).rows)
    assert [(row.line, row.reason) for row in rows] == [(3, "1 fields where the header has 2"), (4, "")]


@pytest.mark.parametrize("content", [
    '{"ask": "q",\n "answer": "a"}\n{\n"ask": "r", "answer": "b"}',
    '{"ask": "q", "answer": "a"},\n{"ask": "r", "answer": "b"},\n',
])
def test_objects_one_after_the_other_are_rows_whatever_their_lines(tmp_path, content):
    rows = list(open_rows(written(tmp_path, "a.json", content.encode())).rows)
    assert [row.value for row in rows] == [{"ask": "q", "answer": "a"}, {"ask": "r", "answer": "b"}]


@pytest.mark.parametrize(("content", "place"), [
    ('[\n// the first\n{"ask": "q"}]', "line 2, column 1"), ('{\n  "ask": "q" /* why */}', "line 2, column 14"),
    ('[{"ask": "q"}] # end', "line 1, column 16"),
])
def test_comments_in_json_are_refused_as_such(tmp_path, content, place):
    with pytest.raises(Refusal, match=f"a.json, {place} must be valid JSON, got 'a comment, which JSON has none of'."):
        open_rows(written(tmp_path, "a.json", content.encode()))


@pytest.mark.parametrize(("content", "bad"), [
    ('[{"ask": "q"},\n{"ask": "q" "b": 1},\n  {"ask": "r"}]', [(2, '{"ask": "q" "b": 1},', "line 2")]),
    ('[{"ask": "q"},\n{"ask": "r"},\n]', []),
    ('[{"ask": "q"},\n{"ask": "r"},\n{"ask": "s', [(3, '{"ask": "s', "line 3")]),
    ('[\n{"ask": "q"}\n{"ask": "r"}\n] trailing', [(3, "] trailing", "line 4")]),
])
def test_a_broken_list_gives_its_good_objects_and_names_the_bad_ones(tmp_path, content, bad):
    rows = list(open_rows(written(tmp_path, "a.json", content.encode())).rows)
    assert [row.value for row in rows if not row.reason] == [{"ask": "q"}, {"ask": "r"}]
    found = [row for row in rows if row.reason]
    assert [(row.line, row.value) for row in found] == [(line, value) for line, value, _ in bad]
    assert all(place in row.reason for row, (*_, place) in zip(found, bad, strict=True))


def test_a_spreadsheet_s_text_file_is_read_by_its_tabs(tmp_path):
    path = written(tmp_path, "a.txt", "ask\tanswer\r\n发烧\t休息\r\n".encode("utf-16"))
    assert [row.value for row in open_rows(path).rows] == [{"ask": "发烧", "answer": "休息"}]


@pytest.mark.parametrize(("name", "encoding"), [("a.jsonl", "utf-8"), ("a.csv", "utf-8"), ("a.json", "utf-8"),
                                                ("a.jsonl", "gb18030"), ("a.csv", "utf-8-sig")])
def test_a_bad_byte_sets_its_row_aside_and_no_other(tmp_path, name, encoding):
    rows = [{"ask": f"发烧怎么办，第{number}问", "answer": "多喝水，好好休息"} for number in range(30)]
    text = {"a.csv": as_csv(rows), "a.json": json.dumps(rows, ensure_ascii=False)}.get(
        name, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    plain = encoding.removesuffix("-sig")
    raw = text.encode(encoding).replace("第7问".encode(plain), "第".encode(plain) + b"\xff")
    found = list(open_rows(written(tmp_path, name, raw)).rows)
    assert [row.value for row in found if not row.reason] == rows[:7] + rows[8:]
    (bad,) = (row for row in found if row.reason)
    assert bad.line == (9 if name == "a.csv" else 8)
    assert bad.reason.startswith(f"the row must be {plain.upper()} throughout, got ")
    assert "第\ufffd" in bad.reason


def test_a_file_whose_download_was_cut_in_a_character_loses_its_last_line_alone(tmp_path):
    raw = ("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS * 5) + '{"ask": "发').encode()[:-1]
    found = list(open_rows(written(tmp_path, "a.jsonl", raw)).rows)
    assert [row.value for row in found if not row.reason] == ROWS * 5
    assert [row.line for row in found if row.reason] == [11]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tsv"])
def test_the_line_ends_of_an_old_macintosh_are_line_ends(tmp_path, name):
    rows = [{"ask": "a?", "answer": "b"}, {"ask": "c?", "answer": "d"}]
    text = "".join(json.dumps(row) + "\n" for row in rows) if name == "a.jsonl" else as_csv(
        rows, "\t" if name == "a.tsv" else ",").replace("\r\n", "\n")
    opened = open_rows(written(tmp_path, name, text.replace("\n", "\r")))
    assert [row.value for row in opened.rows] == rows


def test_a_header_with_another_line_end_in_it_is_refused(tmp_path):
    with pytest.raises(Refusal, match="a.csv: header must be one line of columns, got .*Save it with one kind of line"):
        open_rows(written(tmp_path, "a.csv", b"ask,answer\rq,a\nq,a\n"))


@pytest.mark.parametrize("row", [
    {"对话": [{"角色": "用户", "内容": "q"}, {"角色": "助手", "内容": "a"}]},
    {"chat": [{"role": "user", "content": "q"}]},
    {"conversation": [{"human": "q", "assistant": "a"}]},
    {"prompt": "i", "response": "o", "history": [{"role": "user", "content": "q"}]},
    {"question": "q", "answer": "a", "sources": [{"id": 1}]}, {"text": "t", "entities": [{"start": 0}]},
])
def test_one_row_that_holds_a_list_is_a_row_and_no_wrapper(tmp_path, row):
    for name in ("a.jsonl", "a.json"):
        opened = open_rows(written(tmp_path, name, json.dumps(row, ensure_ascii=False)))
        assert [found.value for found in opened.rows] == [row]


def test_json_under_the_suffix_of_a_table_is_read_as_json(tmp_path):
    for text in (ONE_A_LINE, json.dumps(ROWS, indent=1)):
        assert [row.value for row in open_rows(written(tmp_path, "a.csv", text)).rows] == ROWS
    brackets = list(open_rows(written(tmp_path, "b.csv", "[ask],answer\nq,a\n")).rows)
    assert [row.value for row in brackets] == [{"[ask]": "q", "answer": "a"}]


@pytest.mark.parametrize(("head", "what"), [
    (b"BZh91AY", "a bzip2 archive"), (b"%PDF-1.7", "a PDF file"), (b"\xd0\xcf\x11\xe0\xa1", "an old Excel workbook"),
    (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"), (b"7z\xbc\xaf'", "a 7z archive"),
])
def test_what_is_no_text_is_named(tmp_path, head, what):
    with pytest.raises(Refusal, match=f"a.jsonl must be JSON, JSON Lines, CSV, TSV or Parquet, got '{what}"):
        open_rows(written(tmp_path, "a.jsonl", head))
