"""select_and_scatter with any selector, as the specification defines it.

https://github.com/openxla/stablehlo/blob/main/docs/spec.md#select_and_scatter
"""

from __future__ import annotations

import itertools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.stablehlo import import_module
from jaxfs.types.avals import BY_MLIR
from tests.stablehlo.running import batched, directly, transformed

DIRECTIONS = {
    "GE": operator.ge, "GT": operator.gt, "LE": operator.le, "LT": operator.lt,
    "EQ": operator.eq, "NE": operator.ne,
}  # fmt: skip
INF = float("inf")
TIES = [[2, 2, 1, 3, 3], [0, 1, 1, 1, 0], [5, 5, 5, 5, 5], [-3, 2, -3, 2, 7]]
INFINITE = [[-INF, -INF, 1, 3, 3], [-INF] * 5, [INF] * 5, [-3, 2, INF, 2, 7]]
STRIDES, SIZES = (2, 1), (2, 3)


def program(direction: str, operands: str, element: str, padding: Any) -> str:
    t, m = f"tensor<{element}>", f"tensor<4x5x{element}>"
    rows, columns = output_shape(padding)
    s = f"tensor<{rows}x{columns}x{element}>"
    return f"""func.func @main(%x: {m}, %s: {s}, %z: {t}) -> {m} {{
      %r = "stablehlo.select_and_scatter"(%x, %s, %z) <{{
        window_dimensions = array<i64: 2, 3>, window_strides = array<i64: 2, 1>,
        padding = dense<{padding}> : tensor<2x2xi64>}}> ({{
      ^bb0(%a: {t}, %b: {t}):
        %c = stablehlo.compare {direction}, {operands} : ({t}, {t}) -> tensor<i1>
        stablehlo.return %c : tensor<i1>
      }}, {{
      ^bb0(%a: {t}, %b: {t}):
        %c = stablehlo.add %a, %b : {t}
        stablehlo.return %c : {t}
      }}) : ({m}, {s}, {t}) -> {m}
      return %r : {m}
    }}"""


def output_shape(padding: Any) -> tuple[int, ...]:
    return tuple(
        (size + sum(edges) - window) // stride + 1
        for size, edges, window, stride in zip((4, 5), padding, SIZES, STRIDES, strict=True)
    )


def selected(keeps: Any, x: Any, window: tuple[int, ...], padding: Any) -> tuple[int, int] | None:
    """Returns the place that a window selects, without its padding."""
    kept = None
    for offset in itertools.product(*map(range, SIZES)):
        at = [
            w * s + o - low
            for w, s, o, (low, _) in zip(window, STRIDES, offset, padding, strict=True)
        ]
        if 0 <= at[0] < 4 and 0 <= at[1] < 5:
            place = at[0], at[1]
            kept = place if kept is None or not keeps(x[kept], x[place]) else kept
    return kept


def by_specification(keeps: Any, x: Any, source: Any, initial: Any, padding: Any) -> Any:
    result = np.full(x.shape, initial, x.dtype)
    for window in itertools.product(*map(range, source.shape)):
        place = selected(keeps, x, window, padding)
        if place is not None:
            result[place] += source[window]
    return result


CASES = [
    *itertools.product(DIRECTIONS, ["%a, %b", "%b, %a"], ["f32"], [[[0, 0], [0, 0]]]),
    *itertools.product(["GE", "LT"], ["%a, %b"], ["f32", "i32"], [[[0, 0], [1, 1]]]),
    ("GE", "%a, %b", "i32", [[0, 0], [0, 0]]),
    ("LT", "%b, %a", "i8", [[1, 1], [0, 2]]),
    ("NE", "%a, %a", "f32", [[0, 0], [0, 0]]),
    ("GE", "%b, %b", "f32", [[0, 0], [0, 0]]),
]


@pytest.mark.parametrize(("direction", "operands", "element", "padding"), CASES)
def test_every_selector_selects_what_the_specification_does(
    direction: str, operands: str, element: str, padding: Any
) -> None:
    dtype = BY_MLIR[element].numpy
    names = [name[1] for name in operands.split(", ")]

    def keeps(a: Any, b: Any) -> bool:
        left, right = ({"a": a, "b": b}[name] for name in names)
        return bool(DIRECTIONS[direction](left, right))

    text = program(direction, operands, element, padding)
    shape = output_shape(padding)
    source = (np.arange(np.prod(shape)) + 1).reshape(shape).astype(dtype)
    for x in [np.array(TIES, dtype), *([np.array(INFINITE, dtype)] if element == "f32" else [])]:
        expected = by_specification(keeps, x, source, 2, padding)
        for way in (directly, transformed, batched if direction == "GT" else transformed):
            (found,) = way(text, x, source, 2)
            np.testing.assert_array_equal(found, expected, way.__name__)
    if element == "f32":
        check_derivative(text, np.array(TIES, dtype), source)


def check_derivative(text: str, x: Any, source: Any) -> None:
    """It is linear in the source and in the initial value, and does not move with the operand."""
    function = import_module(text)
    inputs = jnp.asarray(x), jnp.asarray(source), jnp.asarray(2, x.dtype)
    whole, pull = jax.vjp(lambda *args: function(*args)[0], *inputs)
    by_x, by_source, by_initial = pull(jnp.asarray(x))
    assert not by_x.any()
    assert by_initial == x.sum()
    spread = jnp.sum((whole - 2) * x)
    np.testing.assert_allclose(jnp.sum(by_source * source), spread, rtol=1e-5)


def test_gradient_of_pooling_with_gt_moves_on_at_a_tie() -> None:
    """Frameworks write it with GT, and ties are the rule after a relu."""
    text = program("GT", "%a, %b", "f32", [[0, 0], [0, 0]])
    text = text.replace("4x5x", "1x4x").replace(
        f"{'x'.join(map(str, output_shape([[0, 0]] * 2)))}x", "1x2x"
    )
    text = text.replace("array<i64: 2, 3>", "array<i64: 1, 2>")
    text = text.replace("array<i64: 2, 1>", "array<i64: 1, 2>")
    for way in (directly, transformed, batched):
        (found,) = way(text, [[2, 2, 1, 3]], [[10, 20]], 0)
        assert found.tolist() == [[0, 10, 0, 20]]
