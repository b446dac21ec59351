"""What is said about a wrong result where a lesson's own hints do not fit."""

import math

import pytest
import torch

from ftkit.course.cases import Rule
from ftkit.course.diagnosis import diagnosis

t = torch.tensor


@pytest.mark.parametrize(("want", "got", "words"), [
    (3, None, "Your function returns nothing: is there a `return`?"),
    (Rule("odd", lambda x: x % 2), None, "Your function returns nothing: is there a `return`?"),
    (3, "three", "A number is wanted, this is text."), (3, [3], "A number is wanted, this is a list."),
    (t([1.0, 2.0]), 3.0, "A tensor is wanted, this is a number."), ("a", 3, "Text is wanted, this is a number."),
    (1.0, t([1.0, 2.0]), "A number is wanted, this is a tensor of shape (2,)."),
    (True, 1, "True or False is wanted, this is a number."),
    ({"a": 1}, [1], "A dictionary is wanted, this is a list."), (3, set(), "A number is wanted, this is a set."),
    (3, max, "A number is wanted, this is a function: is a pair of brackets missing?"),
    ({"a": 1, "b": 2}, {"a": 1}, "The key 'b' is missing."),
    ({"a": 1}, {"a": 1, "c": 1}, "The key 'c' does not belong there."),
    ({"a": [1, 2]}, {"a": [2, 1]}, "At 'a': The right numbers in another order."),
    ({"a": "x"}, {"a": "y"}, "At 'a': another value."),
    ("All right", "all  right", "Only capital letters or spaces differ."),
    (t([[1.0, 2.0, 3.0]]), t([[1.0], [2.0], [3.0]]),
     "Right but transposed: shape (1, 3) is wanted, this is (3, 1)."),
    (t([[1.0, 2.0], [3.0, 4.0]]), t([[1.0, 3.0], [2.0, 4.0]]),
     "Right but transposed: rows and columns are swapped."),
    (t([1.0, 2.0]), t([[1.0, 2.0]]), "The right numbers in another shape: shape (2,) is wanted, this is (1, 2)."),
    (torch.zeros(2, 3), torch.ones(3, 3), "Shape (2, 3) is wanted, this is (3, 3)."),
    ([1, 2], [1, 2, 3], "2 values are wanted, these are 3."),
    (t([1.0, 2.0]), t([1.0, math.nan]), "NaN came out: is something divided by 0, or a logarithm of 0 taken?"),
    (2.0, math.inf, "Infinity came out: is something divided by 0?"),
    (0.5, -0.5, "Right but for the sign: it is turned round."),
    (t([1.0, -2.0]), t([-1.0, 2.0]), "Right but for the sign: it is turned round."),
    (t([1.0, 2.0]), t([2.5, 5.0]), "Off by a constant factor: 2.5 times what is wanted."),
    (0.5, 1.0, "Off by a constant factor: 2 times what is wanted."),
    (0.8, 0.2, "Off by a constant factor: 0.25 times what is wanted."), (1.0, 2.37, ""), (4, 2, ""),
    ([True, False, True], [False, False, True], "At place 0 (from 0): another value."),
    ([1, 2, 4], [2, 3, 5], "Every value is off by the same +1."),
    ([1, 2, 4], [4, 1, 2], "The right numbers in another order."),
    (1.0, 1.001, "Close, but off by 0.001 of its size, which is more than rounding."),
    ([1, 2, 3, 4], [1, 2, 9, 4], "1 of 4 values differ, the first at place 2 (from 0)."),
    ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], "The right items in another order."),
    (["a", "b"], ["a"], "2 items are wanted, these are 1."),
    ([t([1.0]), "b"], [t([-1.0]), "b"], "At place 0 (from 0): Right but for the sign: it is turned round."),
    (["a", "b"], ["a", "c"], "At place 1 (from 0): another value."), (Rule("odd", lambda x: x % 2), 4, ""),
])
def test_something_useful_is_said_about_a_wrong_result(want, got, words):
    assert diagnosis(want, got, 1e-6) == words


def test_a_wrong_dtype_is_named_where_it_counts():
    one, other = torch.ones(2, dtype=torch.float16), torch.ones(2)
    assert diagnosis(one, other, same_dtype=True) == "The right values as float32: float16 is wanted."
    assert diagnosis(one, [1.0, 1.0], same_dtype=True) == "A tensor is wanted, this is a list."


class Trap:
    def __iter__(self):
        raise RuntimeError("no")

    __getattr__ = __call__ = __iter__


def test_a_result_that_cannot_be_looked_at_has_nothing_said_about_it_or_little():
    assert diagnosis([1], Trap()).startswith("A list is wanted")
    assert diagnosis(t([1.0]), [[1.0], [2.0, 3.0]]) == ""
