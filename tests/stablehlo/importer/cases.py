"""A small program for each operation; some have several."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from jaxfs.types.signature import Param

_TYPES = {
    "f": "tensor<4xf32>",
    "i": "tensor<4xi32>",
    "b": "tensor<4xi1>",
    "c": "tensor<4xcomplex<f32>>",
    "u": "tensor<4xui32>",
    "m": "tensor<3x4xf32>",
    "s": "tensor<f32>",
    "n": "tensor<i32>",
}


@attrs.frozen
class Case:
    """A program of one operation.  Its floating-point inputs are drawn from [low, high).

    ``expected`` computes in numpy what XLA cannot run as it is.
    """

    operation: str
    text: str
    low: float = -1.0
    high: float = 1.0
    is_random: bool = False  # each run gives something else
    expected: Callable[..., Any] | None = None

    def inputs(self, params: tuple[Param, ...]) -> list[Any]:
        random = np.random.default_rng(3)
        return [self._input(random, param) for param in params]

    def _input(self, random: np.random.Generator, param: Param) -> Any:
        dtype, shape = np.dtype(param.aval.row.numpy), param.aval.shape
        if dtype.kind == "b":
            return random.integers(0, 2, shape).astype(bool)
        if dtype.kind in "iu":
            return random.integers(0 if dtype.kind == "u" else -3, 4, shape).astype(dtype)
        drawn = random.uniform(self.low, self.high, shape)
        if dtype.kind == "c":
            drawn = drawn + 1j * random.uniform(self.low, self.high, shape)
        return drawn.astype(dtype)


CASES: dict[str, Case] = {}


def case(name: str, text: str, **options: Any) -> None:
    """``name`` is the operation's, with ``:variant`` behind it where it has several."""
    CASES[name] = Case(name.partition(":")[0], text, **options)


def one(
    name: str, types: str, attributes: str = "", region: str = "", before: str = "", **options: Any
) -> None:
    """A case of one operation, in generic form.  ``types``: ``f f -> b``, or MLIR's own; ``before``
    defines %x, %y ... which are operands behind the arguments."""
    inputs, outputs = ([_TYPES.get(t, t) for t in side.split()] for side in types.split("->"))
    made = re.findall(r"(%\w+) = .* : (?:.*-> )?(tensor<[^ ]*>)$", before, re.MULTILINE)
    arguments = [f"%a{i}" for i in range(len(inputs))]
    operands = ", ".join([*arguments, *(value for value, _ in made)])
    takes = ", ".join([*inputs, *(type_ for _, type_ in made)])
    gives = ", ".join(outputs)
    results = ", ".join(f"%r#{i}" for i in range(len(outputs)))
    properties = f"<{{{attributes}}}>" if attributes else ""
    operation = name.partition(":")[0]
    case(
        name,
        f"func.func @main({', '.join(f'{a}: {t}' for a, t in zip(arguments, inputs, strict=True))})"
        f" -> ({gives}) {{\n{before}\n"
        f'  %r:{len(outputs)} = "{operation}"({operands}) {properties} {region} '
        f": ({takes}) -> ({gives})\n  return {results} : {gives}\n}}\n",
        **options,
    )


def by(operation: str, element: str = "f32", *, swapped: bool = False) -> str:
    """A region that combines two scalars."""
    order = "%q, %p" if swapped else "%p, %q"
    t = f"tensor<{element}>"
    return (
        f"({{ ^bb0(%p: {t}, %q: {t}):\n"
        f'    %o = "stablehlo.{operation}"({order}) : ({t}, {t}) -> {t}\n'
        f'    "stablehlo.return"(%o) : ({t}) -> () }})'
    )


def comparing(direction: str, element: str = "f32") -> str:
    """A region that compares two scalars."""
    t = f"tensor<{element}>"
    return (
        f"({{ ^bb0(%p: {t}, %q: {t}):\n"
        f"    %o = stablehlo.compare {direction}, %p, %q : ({t}, {t}) -> tensor<i1>\n"
        '    "stablehlo.return"(%o) : (tensor<i1>) -> () })'
    )


ODD = """({ ^bb0(%p: tensor<f32>, %q: tensor<f32>):
    %k = stablehlo.constant dense<0.5> : tensor<f32>
    %m = stablehlo.multiply %p, %q : tensor<f32>
    %n = stablehlo.multiply %m, %k : tensor<f32>
    %t = stablehlo.add %p, %q : tensor<f32>
    %o = stablehlo.add %n, %t : tensor<f32>
    "stablehlo.return"(%o) : (tensor<f32>) -> () })"""


def ints(name: str, *values: int) -> str:
    """A constant vector."""
    return f"  %{name} = stablehlo.constant dense<{list(values)}> : tensor<{len(values)}xi64>"


def scalar(name: str, value: str, element: str = "f32") -> str:
    """A constant number."""
    return f"  %{name} = stablehlo.constant dense<{value}> : tensor<{element}>"
