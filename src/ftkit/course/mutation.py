"""Small wrong changes to a piece of code: one operator, constant, argument or statement at a time.

A mutant is made from the syntax tree and written out as source. What changes nothing that an exercise could ask for is
left alone: docstrings, annotations, decorators, the words of an error, and `strict` of `zip`. Knows nothing about how
mutants are tried.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ftkit.course.definitions import needed, statements
from ftkit.course.mutation_kinds import variants


@dataclass(frozen=True)
class Mutant:
    """A source with one change, and the change itself: "line as it was -> line as it is"."""

    change: str
    source: str


def mutants(source: str, name: str) -> list[Mutant]:
    """The mutants of what defines a name, in the order of the source; no two are the same code.

    Args:
        source: a module.
        name: a function, class or value of it; helpers and values of the module that it needs are changed as well.

    Example:
        >>> [one.change for one in mutants("def half(x):\\n    return x / 2\\n", "half")][:3]
        ['return x / 2 -> return None', 'return x / 2 -> return -(x / 2)', 'return x / 2 -> pass']
    """
    module, every = ast.parse(source), statements(source)
    original = ast.unparse(module)
    found = {}
    for place in needed(every, [name]):
        if isinstance(module.body[place], ast.Import | ast.ImportFrom):
            continue
        for _ in _changed_in_place(module, "body", place):
            text = ast.unparse(ast.fix_missing_locations(module))
            if text != original:
                found.setdefault(text, _change(original, text))
    return _numbered(found)


def _changed_in_place(parent: ast.AST, field: str, place: int | None, names: Sequence[str] = ()) -> Iterator[None]:
    """The tree changed in one way after the other at this place and below; as it was at the end."""
    node = getattr(parent, field) if place is None else getattr(parent, field)[place]
    names = _names_in(node) if isinstance(node, ast.FunctionDef) else names
    for variant in variants(node, parent, field, names):
        _put(parent, field, place, variant)
        yield
        _put(parent, field, place, node)
    for name, below in ast.iter_fields(node):
        if _is_left_alone(node, name, below):
            continue
        for index, one in enumerate(below) if isinstance(below, list) else [(None, below)]:
            if isinstance(one, ast.AST):
                yield from _changed_in_place(node, name, index, names)


def _names_in(function: ast.FunctionDef) -> list[str]:
    names = [node.arg if isinstance(node, ast.arg) else node.id for node in ast.walk(function)
             if isinstance(node, ast.arg) or isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return list(dict.fromkeys(names))


def _put(parent: ast.AST, field: str, place: int | None, node: ast.AST):
    if place is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[place] = node


def _is_left_alone(node: ast.AST, field: str, below: object) -> bool:
    if field in ("annotation", "returns", "decorator_list", "ctx", "op", "ops", "bases", "format_spec"):
        return True
    if isinstance(node, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.keyword) and node.arg == "strict":
        return True
    return isinstance(node, ast.Expr) and isinstance(below, ast.Constant)  # a docstring


def _change(before: str, after: str) -> str:
    was, now = before.splitlines(), after.splitlines()
    while was and now and was[0] == now[0]:
        del was[0], now[0]
    while was and now and was[-1] == now[-1]:
        del was[-1], now[-1]
    return f"{' / '.join(line.strip() for line in was)} -> {' / '.join(line.strip() for line in now) or '(nothing)'}"


def _numbered(found: dict[str, str]) -> list[Mutant]:
    """Where the same change is possible at two places, the second is told from the first."""
    seen, made = {}, []
    for source, change in found.items():
        seen[change] = seen.get(change, 0) + 1
        made.append(Mutant(change if seen[change] == 1 else f"{change} (place {seen[change]})", source))
    return made
