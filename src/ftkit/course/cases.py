"""What a lesson's check module is made of: checks, their cases, and hints. Knows nothing about how they are judged.

A check module holds `CHECKS = {"00.1": Check(...)}`. A check runs the learner's function, class or value through
cases; a case knows what is wanted, and hints for the mistakes that are made often. A good set of cases: one small
enough for paper, properties, a random one against another way of computing it, and one under stress. Each case makes
its inputs anew, so that an answer that changes them spoils nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ftkit.errors import refusal

HARDEST = 5


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
    """One thing tried with an answer: `got(answer)` is to be `want`.

    Args:
        name: what is tried, in a few words.
        got: from the answer to its result.
        want: the right result, or a Rule.
        hints: the first that fits a wrong result is shown; where none fits, the kit says what it sees by itself.
        tolerance: absolute and relative, 0 or more.
        same_dtype: whether a tensor must have the dtype of the wanted one, too.
        reason: why the tolerance is what it is; every tolerance above 0 has one.

    Raises:
        Refusal: a negative tolerance, or one that is no number.
    """

    name: str
    got: Callable[[object], object]
    want: object
    hints: Sequence[Hint] = ()
    tolerance: float = 0.0
    same_dtype: bool = False
    reason: str = ""

    def __post_init__(self):
        if not self.tolerance >= 0:
            raise refusal(f"tolerance of {self.name!r}", "0 or more", self.tolerance)


@dataclass(frozen=True)
class Check:
    """One exercise.

    Args:
        answer: the name that its stub defines; a function that changes its arguments on purpose ends in `_`.
        title: as in the notebook.
        difficulty: 1 to 5, not falling within a lesson.
        minutes: what a learner needs, as the exercise's text says.
        cases: makes the cases anew.

    Raises:
        Refusal: a difficulty outside 1 to 5, or no minutes.
    """

    answer: str
    title: str
    difficulty: int
    minutes: int
    cases: Callable[[], Sequence[Case]]

    def __post_init__(self):
        if self.difficulty not in range(1, HARDEST + 1):
            raise refusal(f"difficulty of {self.title!r}", f"a whole number from 1 to {HARDEST}", self.difficulty)
        if not self.minutes >= 1:
            raise refusal(f"minutes of {self.title!r}", "1 or more", self.minutes)
