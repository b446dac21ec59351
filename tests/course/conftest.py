"""A lesson of its own for these tests, with two exercises and their official answers; and a way to run cells alone."""

import sys

import pytest

from ftkit.course import checks, solutions

CHECKS = '''
from ftkit.course.exercise import Case, Check, Hint, Rule


def _area():
    return [
        Case("a square", lambda area: area(2, 2), 4),
        Case("a strip", lambda area: area(2, 5), 10, [
            Hint(7, "You added the sides."), Hint(TypeError, "It takes two arguments."),
            Hint(lambda got: got > 10, "Too large: what is multiplied twice?")]),
        Case("any", lambda area: area(3, 3), Rule("an odd number", lambda got: got % 2 == 1)),
    ]


CHECKS = {
    "98.1": Check("area", "Area of a rectangle", 1, 2, _area),
    "98.2": Check("share", "A share", 2, 3, lambda: [
        Case("value", lambda share: share, 0.25, tolerance=1e-6, reason="six figures are enough")]),
}
'''
SOLUTIONS = '''
import functools

share = 1 / 4


@functools.lru_cache
def area(width, height):
    return width * height
'''


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """The stem of a lesson with the exercises 98.1 (area) and 98.2 (share); nothing is answered yet."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "solutions").mkdir()
    (tmp_path / "checks" / "c98_shapes.py").write_text(CHECKS)
    (tmp_path / "solutions" / "c98_shapes.py").write_text(SOLUTIONS)
    monkeypatch.setattr(checks, "__path__", [*checks.__path__, str(tmp_path / "checks")])
    monkeypatch.setattr(solutions, "__path__", [*solutions.__path__, str(tmp_path / "solutions")])
    monkeypatch.setenv("FTKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FTKIT_STRICT", raising=False)
    yield "98_shapes"
    for module in (checks, solutions):
        sys.modules.pop(f"{module.__name__}.c98_shapes", None)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A function that runs the cells of a notebook in a folder and with a progress file of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FTKIT_HOME", str(tmp_path / ".ftkit"))

    def run_cells(notebook):
        namespace = {}
        for cell in notebook.cells:
            exec(compile(cell.source, cell.id, "exec"), namespace)
        return namespace

    return run_cells
