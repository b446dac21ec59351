"""Which exercises a lesson has, and where their official answers stand. Knows nothing about how answers are judged."""

import importlib
import inspect
import pkgutil
from types import ModuleType

from ftkit.course import checks, solutions
from ftkit.course.definitions import with_needed
from ftkit.errors import refusal, unknown


def lessons() -> list[str]:
    """The stems of all lessons that have checks, in order."""
    return sorted(module.name[1:] for module in pkgutil.iter_modules(checks.__path__) if module.name.startswith("c"))


def checks_of(stem: str) -> dict:
    """The checks of one lesson by exercise id, in order.

    Raises:
        Refusal: no lesson of that name has checks.
    """
    if stem not in lessons():
        raise unknown("lesson", stem, lessons())
    return importlib.import_module(f"{checks.__name__}.c{stem}").CHECKS


def find_check(exercise: str) -> tuple[str, object]:
    """The stem of the lesson and the check of one exercise, named by its id such as "00.1".

    Raises:
        Refusal: no such exercise.
    """
    stems = [stem for stem in lessons() if stem.split("_")[0] == exercise.partition(".")[0]]
    known = {identity: (stem, check) for stem in stems for identity, check in checks_of(stem).items()}
    if exercise not in known:
        raise unknown("exercise", exercise, known or [f"{stem[:2]}.1" for stem in lessons()])
    return known[exercise]


def solution_source(exercise: str) -> str:
    """The source of the official answer of one exercise, with the imports and helpers that it needs.

    Raises:
        Refusal: no such exercise, or no official answer of that name.
    """
    stem, check = find_check(exercise)
    module = importlib.import_module(f"{solutions.__name__}.c{stem}")
    source = with_needed(inspect.getsource(module), check.answer)
    if source is None:
        raise refusal(f"solution of {exercise}", f"a definition of {check.answer} in solutions/c{stem}.py", "none")
    return source


def solution_value(exercise: str) -> object:
    """The official answer itself: the function or value that the stub of the exercise stands for."""
    stem, check = find_check(exercise)
    module: ModuleType = importlib.import_module(f"{solutions.__name__}.c{stem}")
    return getattr(module, check.answer)
