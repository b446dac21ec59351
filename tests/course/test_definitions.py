"""Which lines define a name and which others those need."""

import ast

import pytest

from ftkit.course.definitions import definition, needed, statements, with_needed

SOURCE = '''"""A module."""
import math
import torch.nn.functional as F
from torch import nn, optim

# How many.
COUNT = 3; OTHER = 4
first, (second, *rest) = range(COUNT), [1, 2]
table = {}
table["a"] = COUNT
later: int = 5


def helper(x):
    return math.sqrt(x) + later


@torch.no_grad()
def answer(x, scale=COUNT):
    second = x
    return [helper(second) for one in F.relu(x)]


class Layer(nn.Module):
    width = OTHER

    def forward(self, x):
        return answer(x)


if COUNT:
    from os import path as where
'''


def bound(*names):
    every = statements(SOURCE)
    return [every[place].source.splitlines()[0] for place in needed(every, names)]


def test_what_a_name_needs_is_found_through_functions_and_classes():
    assert bound("helper") == ["import math", "later: int = 5", "def helper(x):"]
    assert bound("answer") == ["import math", "import torch.nn.functional as F", "COUNT = 3", "later: int = 5",
                               "def helper(x):", "@torch.no_grad()"]
    assert set(bound("answer")) < set(bound("Layer"))
    assert bound("rest") == ["COUNT = 3", "first, (second, *rest) = range(COUNT), [1, 2]"]
    assert bound("table") == ["COUNT = 3", "table = {}", 'table["a"] = COUNT']
    assert bound("where") == ["COUNT = 3", "if COUNT:"] and bound("nothing") == []


def test_a_star_import_is_always_needed():
    every = statements("from math import *\nimport os\ndef f():\n    return pi\n")
    assert [every[place].source for place in needed(every, ["f"])][0] == "from math import *"


def test_statements_keep_their_lines_with_decorators_and_comments_above():
    every = statements("# Why.\n@cache\ndef f():  # here\n    pass  # done\nx = 1; y = 2  # both\n")
    assert [one.source for one in every] == ["# Why.\n@cache\ndef f():  # here\n    pass  # done", "x = 1", "y = 2"]
    assert ast.parse("\n".join(one.source for one in every))


@pytest.mark.parametrize(("name", "text"), [
    ("helper", "def helper(x):\n    return math.sqrt(x) + later"), ("later", "later: int = 5"), ("where", None),
    ("nothing", None)])
def test_a_definition_alone_is_its_lines(name, text):
    assert definition(SOURCE, name) == text


def test_a_definition_is_shown_behind_what_it_needs():
    assert with_needed(SOURCE, "helper") == "import math\n\nlater: int = 5\n\n\n" + definition(SOURCE, "helper")
    assert with_needed(SOURCE, "nothing") is None
    namespace = {}
    exec(with_needed("import math\nR = 2\ndef area(r=R):\n    return math.pi * r", "area"), namespace)
    assert namespace["area"]() == pytest.approx(6.2832, abs=1e-4)
