"""Which exercises a lesson has, and where their official answers stand. Knows nothing about how answers are judged."""

import ast
import importlib
import inspect
import pkgutil
from types import ModuleType

from ftkit.course import checks, solutions
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
    """The source of the official answer of one exercise.

    Raises:
        Refusal: no such exercise, or no official answer of that name.
    """
    stem, check = find_check(exercise)
    module = importlib.import_module(f"{solutions.__name__}.c{stem}")
    source = definition(inspect.getsource(module), check.answer)
    if source is None:
        raise refusal(f"solution of {exercise}", f"a definition of {check.answer} in solutions/c{stem}.py", "none")
    return source


def solution_value(exercise: str) -> object:
    """The official answer itself: the function or value that the stub of the exercise stands for."""
    stem, check = find_check(exercise)
    module: ModuleType = importlib.import_module(f"{solutions.__name__}.c{stem}")
    return getattr(module, check.answer)


def definition(source: str, name: str) -> str | None:
    """The lines of `source` that define `name` (function, class or value), decorators included; None without it.

    Example:
        >>> definition("import math\\ndef area(r):\\n    return math.pi * r * r\\n", "area")
        'def area(r):\\n    return math.pi * r * r'
    """
    span = definition_span(source, name)
    return "\n".join(source.splitlines()[span[0]:span[1]]) if span else None


def definition_span(source: str, name: str) -> tuple[int, int] | None:
    """First line (from 0) and line after the last of the last definition of `name` in `source`."""
    found = None
    for statement in ast.parse(source).body:
        if name in _names(statement):
            first = min([statement.lineno, *[decorator.lineno for decorator in
                                             getattr(statement, "decorator_list", [])]])
            found = (first - 1, statement.end_lineno)
    return found


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]
