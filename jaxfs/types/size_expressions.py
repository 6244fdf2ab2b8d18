"""Symbolic sizes of jax.export: ``2*d``, ``b + 1``, ``floordiv(b, 2)``.

The grammar is that of https://docs.jax.dev/en/latest/export/shape_poly.html.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

_OPERATORS: dict[type, Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
_FUNCTIONS: dict[str, Callable[[int, int], int]] = {
    "floordiv": operator.floordiv,
    "max": max,
    "min": min,
    "mod": operator.mod,
}


def names_in(expression: str) -> list[str]:
    """Returns the names of sizes in an expression, sorted; empty if it is not understood.

    >>> names_in("2*d + floordiv(b, 2)")
    ['b', 'd']
    """
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return sorted(found.difference(_FUNCTIONS))


def value_of(expression: str, sizes: Mapping[str, int]) -> int | None:
    """Returns the value of an expression; None if a size is not known or it is not understood.

    >>> value_of("2*d - 1", {"d": 3}), value_of("2*d", {})
    (5, None)
    """
    try:
        return _value(ast.parse(expression, mode="eval").body, sizes)
    except (SyntaxError, ValueError, KeyError, RecursionError, ZeroDivisionError):
        return None


def solved_for(expression: str, name: str, sizes: Mapping[str, int], value: int) -> int | None:
    """Returns the size ``name`` with which an expression that is linear in it has a value.

    None if there is none.

    Raises:
        ValueError: The expression is not linear, or another size is not known.

    >>> solved_for("2*d", "d", {}, 6), solved_for("2*d", "d", {}, 3)
    (3, None)
    """
    found = [value_of(expression, {**sizes, name: size}) for size in (0, 1, 2)]
    start, one, two = found
    if start is None or one is None or two is None:
        raise ValueError(f"{expression} has other sizes")
    factor = one - start
    if factor == 0 or two - one != factor:
        raise ValueError(f"{expression} is not linear")
    size, rest = divmod(value - start, factor)
    return None if rest else size


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return sizes[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, sizes)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.Call(func=ast.Name(id=function), args=[first, second]) if function in _FUNCTIONS:
            return _FUNCTIONS[function](_value(first, sizes), _value(second, sizes))
    raise ValueError("not a size")
