"""A learner's saved notebook: which lesson it is, and for each exercise the lines that define its answer. Runs nothing.

An answer may use helpers from anywhere in the notebook, so its program is made of what it needs by name, and of what
that needs in turn: imports, functions, classes, assignments, and `if` and `try` around them, in the order of the
cells. Everything else stays out, so no model is trained: loops and `with` blocks of other cells, and whatever the
answer does not name. An assignment that calls something is in it only where the answer needs the name.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftkit.course import catalogue
from ftkit.course.definitions import Statement, needed, statements
from ftkit.errors import nearest, refusal

_PLAIN = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign,
          ast.AugAssign, ast.If, ast.Try)
_ID = re.compile(r"""\b(?:check|solution)\(\s*["'](\d\d\.\d+)["']""")
_MAGIC = re.compile(r"^([ \t]*)(?:[%!?].*|[^#\n]*\?[ \t]*)$", re.M)


@dataclass(frozen=True)
class Cell:
    """A code cell: its statements, or why it can't be read."""

    name: str
    exercise: str | None
    statements: tuple[Statement, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Submission:
    """A lesson's notebook as a learner left it."""

    path: Path
    stem: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Program:
    """What defines one answer: pairs of a cell's name and a statement, in order; or why there is none.

    `left_out` tells of each name that the answer needs and that nothing here defines.
    """

    lines: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, str] | None = None
    missing: str = ""
    broken: str = ""


def read_submission(path: str | Path) -> Submission:
    """A notebook with the lesson that it is: by its exercise cells, else by its check cells, else by its file's name.

    Raises:
        Refusal: no such file, no notebook, a damaged one, or one that is no lesson of the kit.
    """
    path = Path(path)
    if not path.is_file():
        raise refusal("notebook", "an existing file", path.name, "Check the path.")
    cells = [_cell(number, cell) for number, cell in enumerate(_code_cells(path), start=1)]
    return Submission(path, _stem(path, cells), tuple(cell for cell, _ in cells))


def program(submission: Submission, exercise: str) -> Program:
    """What is to be run to have the answer of one exercise.

    Args:
        submission: the notebook.
        exercise: one of its lesson's.
    """
    name = catalogue.find_check(exercise)[1].answer
    own = [cell for cell in submission.cells if cell.exercise == exercise]
    if unread := [cell for cell in own if cell.error]:
        return Program(broken=f"Its cell can't be read: {unread[0].error}.")
    lines = [(cell, one) for cell in submission.cells for one in cell.statements]
    mine = {id(cell) for cell in submission.cells
            if cell in own or any(name in one.binds for one in cell.statements)}
    every = [_touching(one) if id(cell) in mine else one for cell, one in lines]
    if not any(name in one.binds for one in every):
        others = [check.answer for check in catalogue.checks_of(submission.stem).values()]
        return Program(missing=_missing(name, own, every, others))
    places = needed(every, [name])
    run = [place for place in places if isinstance(every[place].node, _PLAIN) or id(lines[place][0]) in mine]
    defined = {bound for place in run for bound in every[place].binds}
    left_out = {bound: f"cell {lines[place][0].name} is not run when a notebook is graded"
                for place in places if place not in run for bound in every[place].binds - defined}
    return Program(tuple((lines[place][0].name, every[place].source) for place in run), left_out)


def _code_cells(path: Path) -> list[Mapping]:
    try:
        content = json.loads(path.read_bytes())
        cells = content["cells"] if "cells" in content else content["worksheets"][0]["cells"]
        found = [cell for cell in cells if cell["cell_type"] == "code"]
        for cell in found:
            cell["source"] = "".join(cell["source"] if "source" in cell else cell["input"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise refusal(path.name, "a Jupyter notebook", f"a damaged one ({type(error).__name__})",
                      "Save it again in Jupyter, or take it from your backups folder.") from error
    return found


def _cell(number: int, cell: Mapping) -> tuple[Cell, list[str]]:
    source, metadata = cell["source"], cell.get("metadata")
    exercise = metadata.get("exercise") if isinstance(metadata, Mapping) else None
    exercise = exercise if isinstance(exercise, str) else None
    name = str(cell.get("id") or number)
    found = [exercise] if exercise else _ID.findall(source)
    try:
        return Cell(name, exercise, tuple(_statements(source))), found
    except SyntaxError as error:
        return Cell(name, exercise, error=f"{error.msg}, line {error.lineno}"), found
    except (ValueError, RecursionError, MemoryError) as error:  # a null character, or brackets in thousands
        return Cell(name, exercise, error=str(error) or type(error).__name__), found


def _statements(source: str) -> list[Statement]:
    try:
        return statements(source)
    except SyntaxError:
        if _MAGIC.search(source) is None:
            raise
    return statements(_MAGIC.sub(r"\1pass", source))


def _stem(path: Path, cells: Sequence[tuple[Cell, list[str]]]) -> str:
    known = {stem[:2]: stem for stem in catalogue.lessons()}
    tagged = Counter(cell.exercise[:2] for cell, _ in cells if cell.exercise and cell.exercise[:2] in known)
    called = Counter(one[:2] for _, found in cells for one in found if one[:2] in known)
    for counted in (tagged, called):
        if counted:
            return known[counted.most_common(1)[0][0]]
    if path.stem in known.values():
        return path.stem
    raise refusal(path.name, "a lesson's notebook", "one without exercises of the kit",
                  "Its exercise cells are known by their metadata, its check cells by their text.")


def _touching(one: Statement) -> Statement:
    """A call of a method, in the answer's own cell, taken as a change of what it is called on."""
    node = one.node.value if isinstance(one.node, ast.Expr) else None
    node = node.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return Statement(one.source, one.node, frozenset({node.id}), one.needs) if isinstance(node, ast.Name) else one


def _missing(name: str, own: Sequence[Cell], every: Sequence[Statement], others: Collection[str]) -> str:
    blocks = [one for cell in own for one in cell.statements if isinstance(one.node, ast.FunctionDef | ast.ClassDef)]
    instead = [bound for one in blocks for bound in one.binds]
    instead = instead or nearest(name, {bound for one in every for bound in one.binds} - set(others), most=1)
    return f"No cell defines `{name}`." + (f" There is `{instead[0]}`: was it renamed?" if instead else "")
