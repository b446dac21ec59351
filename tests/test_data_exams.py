"""An exam file in every format, and what a bad one says."""

import json

import pytest

from ftkit.data.exams import read_exam
from ftkit.errors import Refusal

ITEMS = [{"question": "2+2?", "accepted": ["4", "four"]}, {"question": "中国的首都？", "accepted": ["北京"]}]


@pytest.mark.parametrize(("name", "content"), [
    ("e.json", json.dumps(ITEMS)),
    ("e.json", json.dumps({"questions": ITEMS}, ensure_ascii=False)),
    ("e.jsonl", "\n".join(json.dumps(item, ensure_ascii=False) for item in ITEMS)),
    ("e.csv", "question,accepted\n2+2?,4 | four\n中国的首都？,北京\n"),
    ("e.csv", "question,answer,level\n2+2?,4|four|,1\n中国的首都？,北京,2\n"),
    ("e.tsv", "question\tanswers\n2+2?\t4|four\n中国的首都？\t北京\n"),
])
@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_the_same_questions_come_out_of_every_way_of_writing_them(tmp_path, name, content, encoding):
    (tmp_path / name).write_bytes(content.encode(encoding))
    assert read_exam(tmp_path / name) == ITEMS


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("e.jsonl", '{"question": "a", "accepted": "b"}\n{"question": "c"}\n',
     "e.jsonl, line 2: accepted must be there, as a list of texts or one text with | between answers, got 'nothing'."),
    ("e.jsonl", '{"question": "a", "accepted": "b"}\n{"question"\n', "e.jsonl, line 2 must be a readable row, got"),
    ("e.csv", "question,accepted\n,b\n", "e.csv, line 2: question must be text that is not empty, got ''. Columns"),
    ("e.csv", "ask,accepted\na,b\n", "line 2: question must be text that is not empty, got None. Columns present:"),
    ("e.csv", "question,accepted\na, | \n", r"e.csv, line 2: accepted must be at least one answer, got ' . '. Write"),
    ("e.json", '[{"question": "a", "accepted": [4]}]',
     r"e.json, row 1: accepted must be a list of texts, or one text with . between answers, got \[4\]. Put numbers in"),
    ("e.json", '[{"question": "a", "accepted": {"b": 1}}]', "e.json, row 1: accepted must be a list of texts, or one"),
    ("e.csv", "question,accepted\na,b\nc,d\na,e\n",
     "e.csv, line 4: question must be asked once, got 'a'. It is also on line 2: join their accepted answers with |."),
    ("e.csv", "question,accepted\n", "e.csv must be an exam with at least one question, got 'none'. Add a line for"),
    ("e.csv", "", "e.csv must be a file with rows"),
])
def test_a_bad_exam_is_refused_with_its_line_and_field(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(Refusal, match=sentence.replace("|", r"\|")):
        read_exam(tmp_path / name)
