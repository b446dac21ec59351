"""Mutation runs: `python -m ftkit.course.mutants [LESSON or EXERCISE ...]`, or `make mutants`.

Each official answer is changed in many small ways, and each mutant is judged by the exercise's check. One that passes
survives: the check would pass a learner's wrong answer as well, so it needs another case. A mutant that behaves like
the official answer is listed beside it in the solutions module, with a line that says why:

    EQUIVALENT = {"01.1": {"line as it was -> line as it is": "why nothing changes"}}

A listed mutant that is killed, or that there is no longer, is told as well. Knows nothing about any one lesson.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from ftkit.course import catalogue
from ftkit.course.judging import PASSED, grade
from ftkit.course.limits import OutOfTime, memory_limit, time_limit
from ftkit.course.mutation import mutants
from ftkit.errors import Refusal
from ftkit.tables import aligned

LIMIT_S = 5.0  # for one case; an endless loop is the usual reason for reaching it
MEMORY_GIB = 4.0  # more than there was; a mutant may ask for any amount
FEWEST = 30  # of a function or class; a value has as many as it has


@dataclass(frozen=True)
class Tried:
    """What came of the mutants of one official answer."""

    exercise: str
    made: int
    killed: int
    equivalent: int
    surviving: tuple[str, ...]
    stale: tuple[str, ...]  # listed as equivalent, and killed or no longer there

    @property
    def good(self) -> bool:
        """Whether nothing is left to mend."""
        return not self.surviving and not self.stale


def tried(exercise: str, limit_s: float = LIMIT_S) -> Tried:
    """The mutants of one exercise's official answer, each judged by its check.

    Args:
        exercise: its id, such as "01.1".
        limit_s: seconds for a case; a mutant that takes longer is killed.

    Raises:
        Refusal: no such exercise.
    """
    check, module = catalogue.find_check(exercise)[1], catalogue.solutions_of(exercise)
    listed = getattr(module, "EQUIVALENT", {}).get(exercise, {})
    made = mutants(catalogue.source_of(module), check.answer)
    passing = [mutant.change for mutant in made if _passes(exercise, module, mutant.source, limit_s)]
    return Tried(exercise, len(made), len(made) - len(passing), sum(change in listed for change in passing),
                 tuple(change for change in passing if change not in listed),
                 tuple(change for change in listed if change not in passing))


def chosen(names: Sequence[str]) -> list[str]:
    """The exercises meant by lessons (stem or number) and exercise ids; all of them when there is no name.

    Raises:
        Refusal: no such lesson or exercise.
    """
    exercises = []
    for name in names or catalogue.lessons():
        exercises += [name] if "." in name else list(catalogue.checks_of(catalogue.find_lesson(name)))
    for exercise in exercises:
        catalogue.find_check(exercise)
    return exercises


def main(names: Sequence[str]) -> int:
    """Print a table of the exercises and each surviving mutant; 1 if there is any, 2 for an unknown name.

    Args:
        names: lessons and exercises; all when empty.
    """
    try:
        exercises = chosen(names)
    except Refusal as error:
        print(f"ftkit: {error}", file=sys.stderr)
        return 2
    results = [tried(exercise) for exercise in exercises]
    print(aligned(["exercise", "mutants", "killed", "equivalent", "surviving"],
                  [[one.exercise, one.made, one.killed, one.equivalent, len(one.surviving)] for one in results]))
    for one in results:
        for change in one.surviving:
            print(f"{one.exercise} survives: {change}")
        for change in one.stale:
            print(f"{one.exercise} is listed as equivalent and does not survive, or is no mutant: {change}")
    return 0 if all(one.good for one in results) else 1


def _passes(exercise: str, module: ModuleType, source: str, limit_s: float) -> bool:
    namespace = {"__name__": module.__name__, "__file__": module.__file__}
    check = catalogue.find_check(exercise)[1]
    with _silence(), memory_limit(MEMORY_GIB):
        try:
            with time_limit(limit_s):
                exec(compile(source, f"mutant of {exercise}", "exec"), namespace)
        except (Exception, OutOfTime):  # it can't even be defined
            return False
        return grade(exercise, check, namespace.get(check.answer), limit_s, to_first_failure=True).state == PASSED


class _Nowhere(io.TextIOBase):
    def write(self, text):
        return len(text)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
