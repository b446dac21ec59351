"""Mutation runs: of all lessons, and what the tool itself makes and tells."""

import ast

import pytest

from ftkit.course import catalogue
from ftkit.course.mutants import FEWEST, chosen, main, tried
from ftkit.course.mutation import mutants
from ftkit.errors import Refusal

EXERCISES = [exercise for stem in catalogue.lessons() for exercise in catalogue.checks_of(stem)]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_mutant_of_an_official_answer_passes_its_check(exercise):
    found = tried(exercise)
    assert found.surviving == (), f"{exercise}: add a case that tells these apart, or list them as equivalent"
    assert found.stale == (), f"{exercise}: listed as equivalent, but killed or no longer there"
    answer = catalogue.solution_value(exercise)
    if callable(answer):  # a value is one expression: all mutants of that are tried, however few there are
        assert found.made >= FEWEST
    assert found.killed + found.equivalent == found.made > 0


@pytest.mark.parametrize("stem", catalogue.lessons())
def test_every_equivalent_mutant_says_why(stem):
    module = catalogue.solutions_of(next(iter(catalogue.checks_of(stem))))
    listed = getattr(module, "EQUIVALENT", {})
    assert set(listed) <= set(catalogue.checks_of(stem))
    assert all(len(why.split()) >= 3 for changes in listed.values() for why in changes.values())


SOURCE = '''
"""A module."""
import math

SCALE = 2.0


def unused(x):
    return x + 1


def helper(x: int = 3) -> int:
    """Text that is no code."""
    if not x > 0 and x in (1, 2):
        raise ValueError("never changed")
    return min(x, SCALE)


@staticmethod
def answer(rows, *, dim=-1, keep=True):
    total, left = 0, [row[1:] for row in rows if row]
    for place in range(len(left)):
        total += helper(sum(left[place], dim), x=math.floor(2 / dim))
    while total:
        break
    return total if keep else -total, "text"
'''
EXPECTED = [
    "SCALE = 2.0 -> SCALE = 4.0", "SCALE = 2.0 -> SCALE = 0.0", "SCALE = 2.0 -> pass",
    "def helper(x: int=3) -> int: -> def helper(x: int=4) -> int:",
    "def helper(x: int=3) -> int: -> def helper(x: int) -> int:",
    "if not x > 0 and x in (1, 2): -> if x > 0 and x in (1, 2):",
    "if not x > 0 and x in (1, 2): -> if not x >= 0 and x in (1, 2):",
    "if not x > 0 and x in (1, 2): -> if not x > 0 or x in (1, 2):",
    "if not x > 0 and x in (1, 2): -> if not x > 0 and x not in (1, 2):",
    "if not x > 0 and x in (1, 2): -> if True:",
    "return min(x, SCALE) -> return max(x, SCALE)", "return min(x, SCALE) -> return None",
    "return min(x, SCALE) -> return min(SCALE)", "return min(x, SCALE) -> pass",
    "def answer(rows, *, dim=-1, keep=True): -> def answer(rows, *, dim=1, keep=True):",
    "def answer(rows, *, dim=-1, keep=True): -> def answer(rows, *, dim=-0, keep=True):",
    "def answer(rows, *, dim=-1, keep=True): -> def answer(rows, *, dim=-1, keep=False):",
    "total, left = (0, [row[1:] for row in rows if row]) -> total, left = (0, [row[1:] for row in rows])",
    "total, left = (0, [row[1:] for row in rows if row]) -> total, left = (0, [row[:] for row in rows if row])",
    "total, left = (0, [row[1:] for row in rows if row]) -> total, left = (0, [row[1:-1] for row in rows if row])",
    "total, left = (0, [row[1:] for row in rows if row]) -> total, left = (0, [row for row in rows if row])",
    "for place in range(len(left)): -> for place in range(1, len(left)):",
    "for place in range(len(left)): -> for place in range(len(left) - 1):",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total -= helper(sum(left[place], dim), x=math.floor(2 / dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total = helper(sum(left[place], dim), x=math.floor(2 / dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total += helper(sum(dim, left[place]), x=math.floor(2 / dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total += helper(mean(left[place], dim), x=math.floor(2 / dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total += helper(sum(left[place], dim), x=math.ceil(2 / dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> "
    "total += helper(sum(left[place], dim), x=math.floor(2 * dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> total += helper(sum(left[place], dim))",
    "total += helper(sum(left[place], dim), x=math.floor(2 / dim)) -> pass",
    "while total: -> while False:", "break -> pass",
    "return (total if keep else -total, 'text') -> return (total, 'text')",
    "return (total if keep else -total, 'text') -> return (-total if keep else total, 'text')",
    "return (total if keep else -total, 'text') -> return (total if keep else total, 'text')",
    "return (total if keep else -total, 'text') -> return ('text', total if keep else -total)",
    "return (total if keep else -total, 'text') -> return (total if keep else -total, 'xtext')",
    "return (total if keep else -total, 'text') -> return (total if keep else -left, 'text')",
]


@pytest.mark.parametrize("change", EXPECTED)
def test_a_mutant_of_each_kind_is_made(change):
    assert change in [mutant.change for mutant in mutants(SOURCE, "answer")]


def test_mutants_are_code_differ_from_each_other_and_leave_words_alone():
    made = mutants(SOURCE, "answer")
    assert len({mutant.source for mutant in made}) == len({mutant.change for mutant in made}) == len(made)
    for mutant in made:
        ast.parse(mutant.source)
        assert "Text that is no code." in mutant.source and "raise ValueError('never changed')" in mutant.source
        assert "return x + 1" in mutant.source and "import math" in mutant.source  # what the answer does not need


def test_six_lines_give_thirty_mutants_or_more():
    source = "def mean(values, weights):\n    total = 0\n    for value, weight in zip(values, weights):\n" \
             "        total += value * weight\n    share = total / sum(weights)\n    return share\n"
    assert len(mutants(source, "mean")) >= FEWEST


def test_the_same_change_at_two_places_is_told_apart():
    changes = [one.change for one in mutants("def f(x):\n    x += 1\n    print(x)\n    x += 1\n    return x", "f")]
    assert "x += 1 -> x -= 1" in changes and "x += 1 -> x -= 1 (place 2)" in changes


def test_a_check_that_lets_a_mutant_pass_is_told_with_the_line(add_lesson, capsys):
    thin = ("from ftkit.course.cases import Case, Check\n"
            "CHECKS = {'96.1': Check('twice', 'Twice', 1, 1, lambda: [Case('two', lambda twice: twice(2), 4)])}\n")
    add_lesson("96_thin", thin, "def twice(x):\n    print('loud')\n    return x * 2\n")
    assert main(["96"]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[0].split() == ["exercise", "mutants", "killed", "equivalent", "surviving"]
    assert "96.1 survives: return x * 2 -> return x + 2\n" in said
    assert "96.1 survives: return x * 2 -> return x - 2" not in said and "loud\n" not in said


def test_an_equivalent_mutant_that_is_killed_or_gone_is_told(models_lesson):
    assert set(tried("97.1").stale) == {"TWO = 1 + 1 -> TWO = 1 / 1", "no line -> no line"}
    assert main(["97.1"]) == 1


def test_a_class_and_what_it_needs_are_changed_and_every_mutant_is_killed(models_lesson):
    found = tried("97.1")
    changes = [mutant.change for mutant in mutants(catalogue.source_of(catalogue.solutions_of("97.1")), "Double")]
    assert found.surviving == () and found.made == len(changes)
    for line in ("TWO = 1 + 1", "return torch.full", "self.weight = ", "return x * self.weight", "super().__init__()"):
        assert [change for change in changes if change.startswith(line)], line


def test_an_endless_mutant_is_killed_in_time(add_lesson):
    add_lesson("95_loop", "from ftkit.course.cases import Case, Check\n"
               "CHECKS = {'95.1': Check('count', 'Count', 1, 1, lambda: [Case('3', lambda count: count(3), 3)])}\n",
               "def count(n):\n    done = 0\n    while done < n:\n        done += 1\n    return done\n")
    found = tried("95.1", limit_s=0.2)
    assert found.killed >= 10 and "done += 1 -> pass" not in found.surviving


def test_exercises_are_chosen_by_lesson_number_stem_or_id():
    assert chosen(["0", "01.2"]) == ["00.1", "00.2", "00.3", "01.2"]
    assert chosen(["00_start_here"]) == chosen(["00"]) and chosen([]) == EXERCISES


@pytest.mark.parametrize(("name", "words"), [
    ("55", "lesson must be one of 00_start_here.*got '55'. Its number is enough."),
    ("00.9", "exercise must be one of 00.1, 00.2, 00.3, got '00.9'"),
])
def test_an_unknown_name_is_refused(name, words, capsys):
    with pytest.raises(Refusal, match=words):
        chosen([name])
    assert main([name]) == 2 and capsys.readouterr().err.startswith("ftkit: ")
