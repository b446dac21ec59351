"""Constraints: arithmetic, and nothing that could run code."""

import pytest

from ftkit.errors import Refusal
from ftkit.sweep.expressions import read_constraint


@pytest.mark.parametrize(("text", "value"), [
    ("alpha = 2*rank", 16), ("alpha >= rank", True), ("alpha < rank", False), ("alpha == 16 and rank != 4", True),
    ("alpha = sqrt(rank*2) + min(rank, 3) - -1", 8), ("4 <= rank <= 8", True), ("method in ('lora', 'full')", True),
    ("method not in ['lora']", False), ("alpha = 1 if rank > 4 else 2", 1), ("not rank", False),
    ("alpha = rank ** 2 // 3 % 5 / 2", 0.5), ("rank > 100 or alpha", True),
])
def test_a_constraint_is_worked_out_at_a_point(text, value):
    assert read_constraint(text).value({"rank": 8, "alpha": 16, "method": "lora"}) == value


def test_one_equals_sign_derives_and_two_compare():
    assert read_constraint("alpha = 2*rank").derives == "alpha"
    assert read_constraint("alpha == 2*rank").derives == "" and read_constraint("alpha <= rank").derives == ""


@pytest.mark.parametrize("text", [
    "__import__('os').system('ls')", "rank.__class__", "(lambda: 1)()", "[x for x in (1, 2)]", "alpha = rank[0]",
    "open('x')", "rank := 3", "alpha = f'{rank}'", "rank @ rank", "rank is None", "alpha = ", "max(rank, key=rank)",
    "alpha = 1 << 99", "", "{1: 2}", "int.from_bytes(rank)"])
def test_what_is_more_than_arithmetic_is_refused_before_it_is_worked_out(text):
    with pytest.raises(Refusal, match="constraint .*must be (arithmetic|one of)"):
        read_constraint(text)


def test_no_text_at_all_is_refused():
    with pytest.raises(Refusal, match="constraint must be text, got 3"):
        read_constraint(3)


@pytest.mark.parametrize(("text", "words"), [
    ("alpha = 2*rnk", "parameter in constraint 'alpha = 2\\*rnk' must be one of rank, got 'rnk'. Did you mean rank"),
    ("alpha = rank / 0", "one that can be worked out at every point, got 'ZeroDivisionError"),
    ("alpha = rank ** 9999999", "OverflowError|a power beyond 64"),
    ("alpha = rank + 'a'", "TypeError"), ("alpha = sqrt(-1)", "ValueError")])
def test_arithmetic_that_cannot_be_done_is_refused_with_the_constraint(text, words):
    with pytest.raises(Refusal, match=words):
        read_constraint(text).value({"rank": 8})
