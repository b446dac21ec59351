"""Tables in notebooks."""

import pytest

from ftkit.course.table import Table
from ftkit.errors import Refusal


def test_markup_in_a_cell_is_shown_and_not_obeyed():
    shown = Table(["<b>"], [["<script>alert(1)</script>"], [None], ["&amp; 发烧"]])._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown and "<script>" not in shown and "<b>" not in shown
    assert "&amp;amp; 发烧" in shown


def test_a_narrow_table_is_aligned_text_and_a_line_break_a_stroke():
    assert repr(Table(["question", "answer"], [["two\nlines", 3]])) == "question     answer\ntwo / lines  3"


def test_a_wide_table_is_written_in_blocks():
    text = repr(Table(["question", "answer"], [["q" * 80, "a" * 80], ["发烧" * 30, ""]]))
    assert text.split("\n\n")[0] == f"question  {'q' * 80}\nanswer    {'a' * 80}"
    assert text.split("\n\n")[1] == f"question  {'发烧' * 30}\nanswer"


def test_rows_that_can_be_gone_through_only_once_are_shown_in_both_forms():
    table = Table(["a", "b"], zip("xy", "12", strict=True))
    assert repr(table) == "a  b\nx  1\ny  2" and table._repr_html_().count("<tr>") == 3


def test_a_row_that_does_not_fit_its_headers_is_refused():
    with pytest.raises(Refusal, match="row 1 must be of 2 cells, as many as headers, got 1"):
        Table(["a", "b"], [["x", 1], ["y"]])
