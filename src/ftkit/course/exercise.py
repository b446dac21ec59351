"""Exercises: what is asked, how an answer is judged, and what is said about it. Knows nothing about any one lesson.

A lesson's check module holds `CHECKS = {"00.1": Check(...)}`. A check runs the learner's function or value through
cases; a case knows what is wanted, and hints for the mistakes that are made often.
"""

import html
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ftkit.course import catalogue, progress
from ftkit.tables import aligned

SHOWN_CHARACTERS = 60
PASSED, FAILED, NOT_ATTEMPTED = "passed", "failed", "not attempted yet"


class CheckFailed(Exception):
    """An answer is wrong or missing where a right one is required, or two computations disagree."""


@dataclass(frozen=True)
class Hint:
    """What to say about one known mistake.

    `when` is the wrong result itself, the type of the exception it ends in, or a test of the result.
    """

    when: object
    say: str


@dataclass(frozen=True)
class Rule:
    """A wanted result given by a rule in words instead of a value."""

    words: str
    test: Callable[[object], bool]


@dataclass(frozen=True)
class Case:
    """One thing tried with an answer: `got(answer)` is to be `want`, within `tolerance` (absolute and relative)."""

    name: str
    got: Callable[[object], object]
    want: object
    hints: Sequence[Hint] = ()
    tolerance: float = 0.0


@dataclass(frozen=True)
class Check:
    """One exercise: the name that its stub defines, its title, difficulty (1 to 3), minutes, and its cases."""

    answer: str
    title: str
    difficulty: int
    minutes: int
    cases: Callable[[], Sequence[Case]]


@dataclass(frozen=True)
class Row:
    """One case judged."""

    case: str
    want: str
    got: str
    hint: str
    passed: bool


@dataclass(frozen=True)
class Report:
    """What is said about an answer: a small table of case, want, got, hint."""

    exercise: str
    title: str
    state: str
    rows: tuple[Row, ...] = ()

    def __repr__(self):
        head = f"{self.exercise} {self.title}: {self.state}"
        cells = [[_mark(row), row.case, row.want, row.got, row.hint] for row in self.rows]
        return f"{head}\n{aligned(_HEADERS, cells)}" if self.rows else head

    def _repr_html_(self):
        cells = [[_mark(row), row.case, row.want, row.got, row.hint] for row in self.rows]
        lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in cells]
        head = "".join(f"<th>{name}</th>" for name in _HEADERS)
        table = f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>" if cells else ""
        return f"<p><b>{html.escape(f'{self.exercise} {self.title}')}</b>: {self.state}</p>{table}"


_HEADERS = ["", "case", "want", "got", "hint"]


def check(exercise: str, answer: object, strict: bool | None = None) -> Report:
    """What is to be said about an answer; the attempt is noted in the learner's progress.

    Args:
        exercise: its id, such as "00.1".
        answer: what the stub defines: a function, a class or a value.
        strict: raise unless it is right; None takes it from the variable FTKIT_STRICT (1 or unset).

    Raises:
        Refusal: no such exercise.
        CheckFailed: strict, and the answer is wrong or missing.
    """
    stem, known = catalogue.find_check(exercise)
    report = grade(exercise, known, answer)
    if report.state != NOT_ATTEMPTED:
        progress.record(stem, exercise, report.state == PASSED)
    strict = os.environ.get("FTKIT_STRICT") == "1" if strict is None else strict
    if strict and report.state != PASSED:
        raise CheckFailed(repr(report))
    return report


def grade(exercise: str, known: Check, answer: object) -> Report:
    """The report on an answer, and nothing else: no record, no output.

    An answer that is None or ..., or that raises NotImplementedError in every case, has not been attempted.
    """
    if answer is None or answer is ...:
        return Report(exercise, known.title, NOT_ATTEMPTED)
    judged = [_judge(case, answer) for case in known.cases()]
    if all(untouched for _, untouched in judged):
        return Report(exercise, known.title, NOT_ATTEMPTED)
    rows = tuple(row for row, _ in judged)
    return Report(exercise, known.title, PASSED if all(row.passed for row in rows) else FAILED, rows)


def solution(exercise: str) -> None:
    """Print the official answer, once the exercise has been attempted.

    Raises:
        Refusal: no such exercise.
    """
    stem, known = catalogue.find_check(exercise)
    if not progress.attempts(stem, exercise):
        print(f"Try {exercise} first: define {known.answer}, run its check, then ask again.")
    else:
        print(catalogue.solution_source(exercise))


def guess(my_guess: object, measured: object, what: str = "", unit: str = "") -> None:
    """Print a guess beside what was measured.

    Example:
        >>> guess(0.5, 0.8312, "share of right answers")
        share of right answers: you guessed 0.5, measured 0.831
        >>> guess(None, 3, "seconds", "s")
        seconds: no guess yet, measured 3 s
    """
    shown = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in (my_guess, measured)]
    shown = [f"{text} {unit}".strip() for text in shown]
    said = "no guess yet" if my_guess is None else f"you guessed {shown[0]}"
    print(f"{what}: {said}, measured {shown[1]}" if what else f"{said}, measured {shown[1]}")


def agree(what: str, here: object, package: object, tolerance: float = 0.0) -> None:
    """Print that what was written here and what the package has give the same result.

    Args:
        what: what is compared, in words.
        here: the result of the notebook's own code.
        package: the result of the package's.
        tolerance: absolute and relative; 0 for bit for bit.

    Raises:
        CheckFailed: they differ.
    """
    if not same(package, here, tolerance):
        raise CheckFailed(f"{what}: this notebook and the package disagree: {_shown(here)} against {_shown(package)}")
    print(f"{what}: this notebook and the package agree" + (f" within {tolerance:g}" if tolerance else " exactly"))


def same(want: object, got: object, tolerance: float = 0.0) -> bool:
    """Whether a result is the wanted one: numbers, text, lists, mappings, arrays and tensors, nested at will.

    Args:
        want: the right result, or a Rule.
        got: the result in question.
        tolerance: absolute and relative, for numbers.

    Example:
        >>> same([1.0, 2.0], (1.0, 2.0000001), 1e-6)
        True
    """
    if isinstance(want, Rule):
        return bool(want.test(got))
    want, got = _plain(want), _plain(got)
    if isinstance(want, Mapping) and isinstance(got, Mapping):
        return want.keys() == got.keys() and all(same(want[key], got[key], tolerance) for key in want)
    if isinstance(want, list | tuple) and isinstance(got, list | tuple):
        return len(want) == len(got) and all(map(same, want, got, [tolerance] * len(want)))
    if isinstance(want, bool) or isinstance(got, bool) or not (_is_number(want) and _is_number(got)):
        return type(want) is type(got) and want == got
    if math.isnan(want) or math.isnan(got):
        return math.isnan(want) and math.isnan(got)
    return math.isclose(want, got, rel_tol=tolerance, abs_tol=tolerance)


def _judge(case: Case, answer: object) -> tuple[Row, bool]:
    try:
        got = case.got(answer)
        passed = same(case.want, got, case.tolerance)
    except Exception as error:  # whatever a learner's code does is to be shown, not to end the table
        got, passed = error, False
    hint = "" if passed else next((hint.say for hint in case.hints if _fits(hint.when, got, case.tolerance)), "")
    want = case.want.words if isinstance(case.want, Rule) else _shown(case.want)
    untouched = isinstance(got, NotImplementedError)
    if untouched:
        hint = hint or "this part still raises NotImplementedError"
    return Row(case.name, want, _shown(got), hint, passed), untouched


def _fits(when: object, got: object, tolerance: float) -> bool:
    if isinstance(when, type) and issubclass(when, BaseException):
        return isinstance(got, when)
    if isinstance(got, BaseException):
        return False
    try:
        return bool(when(got)) if callable(when) else same(when, got, tolerance)
    except Exception:  # a hint's test that can't read this result does not fit it
        return False


def _plain(value: object) -> object:
    value = value.detach() if hasattr(value, "detach") else value
    return value.tolist() if hasattr(value, "tolist") else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _shown(value: object) -> str:
    if isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}"
    else:
        text = repr(_plain(value))
    text = " ".join(text.split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def _mark(row: Row) -> str:
    return "ok" if row.passed else "no"
