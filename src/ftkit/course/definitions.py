"""Which lines of a source define a name, and which others those lines need. Knows nothing about who wrote them."""

import ast
import itertools
import symtable
from collections.abc import Collection, Sequence
from dataclasses import dataclass

EVERYTHING = "*"  # what `from module import *` binds


@dataclass(frozen=True)
class Statement:
    """One statement at the top of a source: its lines, decorators and comments above it included."""

    source: str
    node: ast.stmt
    binds: frozenset[str]  # names that it defines, or whose value it changes
    needs: frozenset[str]  # names from elsewhere that it reads, at once or when it is called; built-in ones too


def statements(source: str) -> list[Statement]:
    """The statements at the top of a source, in order; each binds and needs names.

    Example:
        >>> one = statements("half = lambda x: scale * x")[0]
        >>> sorted(one.binds), sorted(one.needs)
        (['half'], ['scale'])
    """
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]) - 1
        while first and lines[first - 1].startswith("#"):
            first -= 1
        text = ast.get_source_segment(source, node) if _shares_a_line(node, lines) else None
        text = text or "\n".join(lines[first:node.end_lineno])
        found.append(Statement(text, node, frozenset(_bound(node)), _needs(text)))
    return found


def needed(all_statements: Sequence[Statement], names: Collection[str]) -> list[int]:
    """Places of the statements that define the names, and of all that those need in turn, in order."""
    wanted, chosen = {EVERYTHING, *names}, set()
    while True:
        more = {place for place, one in enumerate(all_statements) if one.binds & wanted} - chosen
        if not more:
            return sorted(chosen)
        chosen |= more
        wanted |= {name for place in more for name in all_statements[place].needs}


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
    for node in ast.parse(source).body:
        if name in _bound(node) and isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign):
            first = min([node.lineno, *[one.lineno for one in getattr(node, "decorator_list", [])]])
            found = (first - 1, node.end_lineno)
    return found


def with_needed(source: str, name: str) -> str | None:
    """The definition of `name` behind the imports and helpers of `source` that it needs; None without it.

    Example:
        >>> print(with_needed("import math\\nimport os\\ndef area(r):\\n    return math.pi * r * r\\n", "area"))
        import math
        <BLANKLINE>
        <BLANKLINE>
        def area(r):
            return math.pi * r * r
    """
    if definition_span(source, name) is None:
        return None
    every = statements(source)
    chosen = [every[place] for place in needed(every, [name])]
    gaps = [_gap(before.node, after.node) for before, after in itertools.pairwise(chosen)]
    return "".join(itertools.chain(*zip([one.source for one in chosen], [*gaps, ""], strict=True)))


_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _gap(before: ast.stmt, after: ast.stmt) -> str:
    if isinstance(before, _BLOCKS) or isinstance(after, _BLOCKS):
        return "\n\n\n"
    imports = [isinstance(node, ast.Import | ast.ImportFrom) for node in (before, after)]
    return "\n\n" if imports == [True, False] else "\n"


def _shares_a_line(node: ast.stmt, lines: Sequence[str]) -> bool:
    """Whether other statements stand on its lines, between semicolons."""
    if node.col_offset:
        return True
    behind = lines[node.end_lineno - 1].encode()[node.end_col_offset:].decode().strip()
    return behind.startswith(";") and bool(behind.strip("; "))


def _bound(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        return set()
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        return {node.id} if isinstance(node, ast.Name) else set()
    return {name for child in ast.iter_child_nodes(node) for name in _bound(child)}


def _needs(source: str) -> frozenset[str]:
    names, tables = set(), [symtable.symtable(source, "source", "exec")]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {one.get_name() for one in table.get_symbols()
                  if one.is_referenced() and (table.get_type() == "module" or one.is_global())}
    return frozenset(names)
