"""The kinds of small wrong changes: what may stand in the place of one node of a syntax tree.

Knows nothing about the rest of the tree, but for the node's parent.
"""

import ast
import copy
from collections.abc import Iterator, Sequence

_OPERATORS = {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult],
              ast.Pow: [ast.Mult], ast.FloorDiv: [ast.Div, ast.Mult], ast.Mod: [ast.FloorDiv], ast.BitAnd: [ast.BitOr],
              ast.BitOr: [ast.BitAnd], ast.BitXor: [ast.BitOr], ast.LShift: [ast.RShift], ast.RShift: [ast.LShift],
              ast.MatMult: [ast.Mult]}
_COMPARISONS = {ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt],
                ast.GtE: [ast.Gt, ast.LtE], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot],
                ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In]}
_PAIRS = ["min max", "any all", "sum mean", "std var", "zeros ones", "zeros_like ones_like", "argmax argmin",
          "amax amin", "floor ceil", "round floor", "sqrt square", "log exp", "log2 log", "softmax log_softmax",
          "indices values", "keys values", "append extend", "unsqueeze squeeze", "normal_ zeros_", "zeros_ ones_",
          "uniform_ zeros_", "kaiming_uniform_ ones_", "add_ sub_", "mul_ div_", "index_add_ index_copy_",
          "cumsum cumprod", "train eval", "upper lower", "startswith endswith", "in_features out_features"]
_SWAPS = {}
for _pair in _PAIRS:
    _one, _other = _pair.split()
    _SWAPS.setdefault(_one, _other)
    _SWAPS.setdefault(_other, _one)
# a value and its converted form are often the same to a check, so taking these away would say nothing
_CONVERSIONS = {"item", "tolist", "list", "tuple", "int", "float", "detach", "clone", "contiguous", "cpu", "to", "copy",
                "dict", "iter"}
_SYMMETRIC = {"min", "max", "minimum", "maximum", "add", "mul", "equal", "isclose", "allclose", "transpose", "swapaxes"}
_DROPPED_STATEMENTS = (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Break, ast.Continue)


def variants(node: ast.AST, parent: ast.AST, field: str, names: Sequence[str] = ()) -> Iterator[ast.AST]:
    """What is put in the node's place, one after the other.

    Args:
        node: of a syntax tree; it is not changed.
        parent: the node above it.
        field: of the parent that holds it.
        names: arguments and variables of the function around it; one of them is taken for the next.
    """
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names and len(names) > 1:
        yield ast.Name(names[(names.index(node.id) + 1) % len(names)], ast.Load())
    for kind, made in _KINDS.items():
        if isinstance(node, kind):
            yield from made(node, parent, field)
    if isinstance(node, ast.expr) and field in ("test", "ifs") and not isinstance(node, ast.Constant):
        yield ast.UnaryOp(ast.Not(), node)
        yield from [ast.Constant(False)] if isinstance(parent, ast.While) else map(ast.Constant, (True, False))


def _with(node: ast.AST, **fields) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _less(items: list) -> Iterator[list]:
    yield from (items[:place] + items[place + 1:] for place in range(len(items)))


def _swapped(items: list) -> Iterator[list]:
    for place in range(len(items) - 1):
        yield [*items[:place], items[place + 1], items[place], *items[place + 2:]]


def _binary(node, parent, field):
    for other in _OPERATORS.get(type(node.op), []):
        yield _with(node, op=other())
    yield node.left
    yield node.right
    if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd | ast.BitOr | ast.BitXor):
        yield _with(node, left=node.right, right=node.left)


def _unary(node, parent, field):
    yield node.operand


def _comparison(node, parent, field):
    for place, op in enumerate(node.ops):
        for other in _COMPARISONS[type(op)]:
            yield _with(node, ops=[*node.ops[:place], other(), *node.ops[place + 1:]])


def _boolean(node, parent, field):
    yield _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    for rest in _less(node.values):
        yield _with(node, values=rest) if len(rest) > 1 else rest[0]


def _constant(node, parent, field):
    value, others = node.value, []
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, int):
        others = [value + 1, value - 1, 2 * value, *([] if isinstance(parent, ast.UnaryOp) else [-value])]
    elif isinstance(value, float):
        others = [2 * value, -value, value + 1, 0.0]
    elif isinstance(value, str) and not isinstance(parent, ast.Expr):
        others = [f"x{value}"]
    yield from (ast.Constant(other) for other in others if other != value or type(other) is not type(value))


def _call(node, parent, field):
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    for args in [*([] if called in _SYMMETRIC else _swapped(node.args)), *_less(node.args)]:
        yield _with(node, args=args)
    for keywords in _less(node.keywords):
        if "strict" not in {one.arg for one in node.keywords if one not in keywords}:
            yield _with(node, keywords=keywords)
    if called not in _CONVERSIONS:
        if isinstance(node.func, ast.Attribute):
            yield node.func.value
        if node.args and not isinstance(node.args[0], ast.Starred):
            yield node.args[0]
    if called == "range" and len(node.args) == 1:
        end = node.args[0]
        yield _with(node, args=[ast.Constant(1), end])
        yield from (_with(node, args=[ast.BinOp(end, op, ast.Constant(1))]) for op in (ast.Add(), ast.Sub()))


def _name(node, parent, field):
    if isinstance(node.ctx, ast.Load) and node.id in _SWAPS and isinstance(parent, ast.Call) and field == "func":
        yield _with(node, id=_SWAPS[node.id])


def _attribute(node, parent, field):
    if isinstance(node.ctx, ast.Load):
        if node.attr in _SWAPS:
            yield _with(node, attr=_SWAPS[node.attr])
        if not (isinstance(parent, ast.Call) and field == "func"):
            yield node.value


def _subscript(node, parent, field):
    if isinstance(node.ctx, ast.Load):
        yield node.value


def _slice(node, parent, field):
    yield _with(node, lower=None if node.lower else ast.Constant(1))
    yield _with(node, upper=None if node.upper else ast.UnaryOp(ast.USub(), ast.Constant(1)))
    if node.step:
        yield _with(node, step=None)


def _items(node, parent, field):
    if isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
        for elts in [*_swapped(node.elts), *(_less(node.elts) if len(node.elts) > 1 else [])]:
            yield _with(node, elts=elts)


def _comprehension(node, parent, field):
    for ifs in _less(node.ifs):
        yield _with(node, ifs=ifs)


def _choice(node, parent, field):
    yield node.body
    yield node.orelse
    yield _with(node, body=node.orelse, orelse=node.body)


def _branches(node, parent, field):
    if node.orelse:
        yield _with(node, orelse=[])


def _return(node, parent, field):
    if node.value is not None:
        yield _with(node, value=ast.Constant(None))
        yield from _negated(node, parent, field)


def _negated(node, parent, field):
    if not isinstance(node.value, ast.Tuple | ast.List | ast.Dict | ast.Constant | ast.JoinedStr | ast.UnaryOp):
        yield _with(node, value=ast.UnaryOp(ast.USub(), node.value))


def _augmented(node, parent, field):
    for other in _OPERATORS.get(type(node.op), []):
        yield _with(node, op=other())
    yield ast.Assign([node.target], node.value)


def _statement(node, parent, field):
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        yield ast.Pass()


def _arguments(node, parent, field):
    if node.defaults and not isinstance(parent, ast.Lambda):
        yield _with(node, defaults=node.defaults[1:])


_KINDS = {ast.Return: _return, _DROPPED_STATEMENTS: _statement, ast.Assign: _negated, ast.AugAssign: _augmented,
          ast.BinOp: _binary, ast.UnaryOp: _unary, ast.Compare: _comparison, ast.BoolOp: _boolean,
          ast.Constant: _constant, ast.Call: _call, ast.Name: _name, ast.Attribute: _attribute,
          ast.Subscript: _subscript, ast.Slice: _slice, (ast.List, ast.Tuple, ast.Set): _items,
          ast.comprehension: _comprehension, ast.IfExp: _choice, (ast.If, ast.For): _branches,
          ast.arguments: _arguments}
