"""What a notebook calls about its exercises: check, solution, guess, agree. Knows nothing about any one lesson.

What a check module is made of (`Case`, `Check`, `Hint`, `Rule`) can be imported from here, too.
"""

import os

from ftkit.course import catalogue, progress
from ftkit.course.cases import Case, Check, Hint, Rule
from ftkit.course.judging import FAILED, NOT_ATTEMPTED, PASSED, Report, grade
from ftkit.course.results import same, shown

__all__ = ["FAILED", "NOT_ATTEMPTED", "PASSED", "Case", "Check", "CheckFailed", "Hint", "Rule", "agree", "check",
           "grade", "guess", "same", "solution"]


class CheckFailed(Exception):
    """An answer is wrong or missing where a right one is required, or two computations disagree."""


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
        raise CheckFailed(f"{what}: this notebook and the package disagree: {shown(here)} against {shown(package)}")
    print(f"{what}: this notebook and the package agree" + (f" within {tolerance:g}" if tolerance else " exactly"))
