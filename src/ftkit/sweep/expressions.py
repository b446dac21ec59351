"""Arithmetic over the parameters of a point: `alpha = 2*rank` derives, `alpha >= rank` filters. No code is run.

Knows nothing about grids: names and values come in, a value comes out.
"""

import ast
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ftkit.errors import Refusal, refusal, unknown

_DERIVES = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)(.*)", re.DOTALL)
_BINARY = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
           ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: lambda base, power: _power(base, power)}
_UNARY = {ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_}
_COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
            ast.GtE: operator.ge, ast.In: lambda value, many: value in many,
            ast.NotIn: lambda value, many: value not in many}
_FUNCTIONS = {"min": min, "max": max, "round": round, "abs": abs, "int": int, "float": float, "sqrt": math.sqrt,
              "log2": math.log2, "log10": math.log10}
_LARGEST_POWER = 64
_FORM = "Write for example 'alpha = 2*rank' or 'alpha >= rank'."


@dataclass(frozen=True)
class Constraint:
    """One line of a grid's constraints.

    Args:
        text: as it was written.
        derives: the parameter that it sets; empty where it only says which points stay.
        tree: the expression.
    """

    text: str
    derives: str
    tree: ast.expr

    def value(self, parameters: Mapping) -> object:
        """What the expression comes to at a point.

        Raises:
            Refusal: a name that the point does not have, or arithmetic that cannot be done.
        """
        try:
            return _value(self.tree, parameters, self.text)
        except Refusal:
            raise
        except (TypeError, ValueError, ArithmeticError) as error:
            raise refusal(f"constraint {self.text!r}", "one that can be worked out at every point",
                          f"{type(error).__name__}: {error}", _FORM) from error


def read_constraint(text: str) -> Constraint:
    """A constraint from its text.

    Raises:
        Refusal: it does not parse, or it is more than arithmetic and comparison.

    Example:
        >>> read_constraint("alpha = 2*rank").value({"rank": 8})
        16
    """
    if not isinstance(text, str):
        raise refusal("constraint", "text", text, _FORM)
    derives = _DERIVES.fullmatch(text)
    name, source = (derives[1], derives[2]) if derives else ("", text)
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise refusal("constraint", "arithmetic over the parameters", text, _FORM) from error
    _check(tree, text)
    return Constraint(text, name, tree)


def _check(tree: ast.expr, text: str) -> None:
    """Refuses what is more than arithmetic before anything is worked out."""
    for node in ast.walk(tree):
        known = isinstance(node, ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.IfExp | ast.Name | ast.Tuple
                           | ast.List | ast.expr_context | ast.operator | ast.unaryop | ast.boolop | ast.cmpop) \
            or isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | bool) \
            or isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords
        if not known or type(node) in (ast.MatMult, ast.LShift, ast.RShift, ast.BitOr, ast.BitAnd, ast.BitXor,
                                       ast.Invert, ast.Is, ast.IsNot):
            raise refusal("constraint", "arithmetic over the parameters", text, _FORM)
        if isinstance(node, ast.Call) and node.func.id not in _FUNCTIONS:
            raise unknown(f"function in constraint {text!r}", node.func.id, _FUNCTIONS)


def _value(node: ast.expr, parameters: Mapping, text: str) -> object:
    def of(part: ast.expr) -> object:
        return _value(part, parameters, text)

    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            if node.id not in parameters:
                raise unknown(f"parameter in constraint {text!r}", node.id, parameters)
            return parameters[node.id]
        case ast.BinOp():
            return _BINARY[type(node.op)](of(node.left), of(node.right))
        case ast.UnaryOp():
            return _UNARY[type(node.op)](of(node.operand))
        case ast.BoolOp():
            many = all if isinstance(node.op, ast.And) else any
            return many(of(part) for part in node.values)
        case ast.IfExp():
            return of(node.body if of(node.test) else node.orelse)
        case ast.Tuple() | ast.List():
            return [of(part) for part in node.elts]
        case ast.Call():
            return _FUNCTIONS[node.func.id](*(of(part) for part in node.args))
    values = [of(part) for part in (node.left, *node.comparators)]
    return all(_COMPARE[type(one)](*pair) for one, pair in zip(node.ops, zip(values, values[1:], strict=False),
                                                               strict=True))


def _power(base: float, power: float) -> float:
    if abs(power) > _LARGEST_POWER:
        raise ValueError(f"a power beyond {_LARGEST_POWER}")
    return base ** power
