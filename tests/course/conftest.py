"""A lesson of its own for these tests, with two exercises and their official answers; and a way to run cells alone."""

import importlib
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


MODEL_CHECKS = '''
import torch

from ftkit.course.cases import Case, Check, Hint


def _double():
    def at(double, value):
        return double(4)(torch.full((2, 4), value))

    return [Case("ones", lambda double: at(double, 1.0), torch.full((2, 4), 2.0), [
                Hint(lambda got: bool((got == 1).all()), "Once is not twice.")]),
            Case("threes", lambda double: at(double, 3.0), torch.full((2, 4), 6.0)),
            Case("its weight", lambda double: double(3).weight, torch.full((3,), 2.0), same_dtype=True),
            Case("it learns", lambda double: len(list(double(3).parameters())), 1)]


CHECKS = {"97.1": Check("Double", "Twice as much", 1, 2, _double)}
'''
MODEL_SOLUTIONS = '''
import torch
from torch import nn

TWO = 1 + 1


def filled(width):
    return torch.full((width,), float(TWO))


class Double(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(filled(width))

    def forward(self, x):
        return x * self.weight


EQUIVALENT = {"97.1": {
    "TWO = 1 + 1 -> TWO = 1 / 1": "made up, and killed",
    "no line -> no line": "there is no such mutant",
}}
'''


@pytest.fixture
def add_lesson(tmp_path, monkeypatch):
    """A function that adds a lesson of this stem, with the sources of its checks and solutions; nothing is answered."""
    added = []
    for module, name in ((checks, "checks"), (solutions, "solutions")):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(tmp_path / name)])
    monkeypatch.setenv("FTKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FTKIT_STRICT", raising=False)

    def add(stem, of_checks, of_solutions):
        for name, source in (("checks", of_checks), ("solutions", of_solutions)):
            (tmp_path / name / f"c{stem}.py").write_text(source, "utf-8")
            added.append(f"ftkit.course.{name}.c{stem}")
        importlib.invalidate_caches()
        return stem

    yield add
    for name in added:
        sys.modules.pop(name, None)


@pytest.fixture
def lesson(add_lesson):
    """The stem of a lesson with the exercises 98.1 (area) and 98.2 (share)."""
    return add_lesson("98_shapes", CHECKS, SOLUTIONS)


@pytest.fixture
def models_lesson(add_lesson):
    """The stem of a lesson with the exercise 97.1, whose answer is a class that needs a helper and a value."""
    return add_lesson("97_models", MODEL_CHECKS, MODEL_SOLUTIONS)


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
