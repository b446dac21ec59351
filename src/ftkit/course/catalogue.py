"""Which exercises a lesson has, and where their official answers stand. Knows nothing about how answers are judged."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

from ftkit.course import checks, solutions
from ftkit.course.definitions import with_needed
from ftkit.errors import refusal, unknown


def lessons() -> list[str]:
    """The stems of all lessons that have checks, in order."""
    return sorted(module.name[1:] for module in pkgutil.iter_modules(checks.__path__)
                  if re.fullmatch(r"c\d\d_\w+", module.name))


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


def find_lesson(name: str) -> str:
    """The stem of a lesson with checks, named by its stem or its number.

    Raises:
        Refusal: no such lesson.
    """
    numbered = [stem for stem in lessons() if stem.split("_")[0] == name.zfill(2)]
    if name not in lessons() and not numbered:
        raise unknown("lesson", name, lessons(), "Its number is enough.")
    return name if name in lessons() else numbered[0]


def solutions_of(exercise: str) -> ModuleType:
    """The module with the official answer of an exercise.

    Raises:
        Refusal: no such exercise.
    """
    return importlib.import_module(f"{solutions.__name__}.c{find_check(exercise)[0]}")


def source_of(module: ModuleType) -> str:
    """The source of a module as it is on the disk."""
    return Path(module.__file__).read_text("utf-8")


def solution_source(exercise: str) -> str:
    """The source of the official answer of one exercise, with the imports and helpers that it needs.

    Raises:
        Refusal: no such exercise, or no official answer of that name.
    """
    stem, check = find_check(exercise)
    source = with_needed(source_of(solutions_of(exercise)), check.answer)
    if source is None:
        raise refusal(f"solution of {exercise}", f"a definition of {check.answer} in solutions/c{stem}.py", "none")
    return source


def solution_value(exercise: str) -> object:
    """The official answer itself: the function, class or value that the stub of the exercise stands for."""
    return getattr(solutions_of(exercise), find_check(exercise)[1].answer)
