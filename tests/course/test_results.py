"""Results compared and shown."""

import math

import numpy
import pytest
import torch

from ftkit.course.cases import Rule
from ftkit.course.results import same, shown

NAN, INF = math.nan, math.inf
ones = torch.ones


@pytest.mark.parametrize(("want", "got", "tolerance", "equal"), [
    (1, 1.0, 0, True), (1.0, 1.0 + 1e-9, 0, False), (1.0, 1.0 + 1e-9, 1e-6, True), (True, 1, 0, False),
    (True, numpy.bool_(True), 0, True), (1, True, 0, False), (NAN, NAN, 0, True), (NAN, 1.0, 0, False),
    ("a", "a", 0, True), ("a", "b", 0, False), ([1, 2], (1, 2), 0, True), ([1, 2], [1, 2, 3], 0, False),
    ({"a": [1.0]}, {"a": [1.0]}, 0, True), ({"a": 1}, {"b": 1}, 0, False), (None, None, 0, True),
    (torch.ones(2, 2), numpy.ones((2, 2)), 0, True), (torch.ones(2, 2), torch.ones(2, 3), 0, False),
    (torch.ones(2, requires_grad=True), [1.0, 1.0], 0, True), (Rule("positive", lambda x: x > 0), 3, 0, True),
    (numpy.float32(0.1), 0.1, 1e-6, True), (1, "1", 0, False),
    (ones(0, 3), ones(0, 3), 0, True), (ones(0, 3), ones(0, 2), 0, False), (ones(1), ones(()), 0, False),
    (ones(()), 1.0, 0, True), (ones(2) * NAN, ones(2) * NAN, 0, True), (ones(2) * INF, ones(2), 1e-3, False),
    (ones(2) * INF, ones(2) * INF, 1e-3, True), (ones(2), ones(2) * NAN, 1e-3, False), (INF, 1e300, 1e-3, False),
    (ones(2), ones(2) + 1e-4, 1e-3, True), (ones(2), ones(2) + 1e-2, 1e-3, False), (ones(2) * 100, ones(2) * 100.05,
                                                                                     1e-3, True),
    (ones(2), ones(2, dtype=torch.int64), 0, True), (ones(2), ones(2, dtype=torch.bool), 0, False),
    (ones(2).bool(), ones(2).bool(), 0, True), (ones(2).bool(), [True, True], 0, True),
    (ones(2, 2).to_sparse(), ones(2, 2), 0, True), (ones(2) * 1j, ones(2) * 1j, 1e-6, True),
    (ones(2) * 1j, ones(2) * 2j, 1e-6, False), (torch.tensor([2 ** 53]), torch.tensor([2 ** 53 + 1]), 0, False),
    ([ones(2), {"a": ones(1)}], [ones(2), {"a": ones(1)}], 0, True), ([ones(2)], [ones(3)], 0, False),
    (numpy.array(["a"]), ["a"], 0, True), ("a", 1, 0, False), ([], ones(0), 0, True),
])
def test_results_are_compared_by_what_they_hold(want, got, tolerance, equal):
    assert same(want, got, tolerance) is equal


@pytest.mark.parametrize(("got", "equal"), [
    (ones(2, dtype=torch.bfloat16), True), (ones(2), False), (ones(2, dtype=torch.float16), False),
    ([1.0, 1.0], False)])
def test_the_dtype_is_compared_where_that_is_asked_for(got, equal):
    want = ones(2, dtype=torch.bfloat16)
    assert same(want, got)
    assert same(want, got, same_dtype=True) is equal
    assert same([{"a": want}], [{"a": got}], same_dtype=True) is equal


def test_a_large_tensor_is_compared_at_once():
    one = torch.zeros(2000, 2000)
    other = one.clone()
    assert same(one, other)
    other[-1, -1] = 1e-3
    assert not same(one, other, 1e-6)


class Odd:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(("value", "text"), [
    (4, "4"), ([1, 2], "[1, 2]"), ("a\n  b", "'a\\n b'"), (ValueError("bad\nline"), "ValueError: bad line"),
    (torch.tensor(0.5), "0.5 (float32 tensor)"), (torch.tensor([[1, 2]]), "int64 (1, 2): [[1, 2]]"),
    (numpy.float64(0.25), "0.25 (float64 tensor)"), (Odd(), "a Odd that cannot be shown"),
    (torch.tensor([0.5], dtype=torch.bfloat16), "bfloat16 (1,): [0.5]"), ((ones(1), 3), "[float32 (1,): [1.0], 3]"),
    (torch.tensor([-0.0, 1 / 3], dtype=torch.float64), "float64 (2,): [0.0, 0.333333]"),
    (torch.zeros(0, 3), "float32 (0, 3): []"),
])
def test_a_result_is_shown_with_what_tells_it_from_others(value, text):
    assert shown(value) == text


def test_a_long_result_is_cut_and_a_large_tensor_is_not_written_out():
    assert len(shown("x" * 200)) == 60
    text = shown(torch.zeros(4000, 4000))
    assert text.startswith("float32 (4000, 4000): [0.0, 0.0") and len(text) == 60
