"""Operations that XLA and JAX compute differently have one answer, which numpy gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest

from jaxfs.stablehlo.module.legalize import _cropped
from jaxfs.types.avals import BY_MLIR
from tests.stablehlo.running import WAYS, transformed


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


ways = pytest.mark.parametrize("way", WAYS)

# Random bits

INTEGERS = ("i4", "ui4", "i8", "ui8", "i16", "ui32", "i64")
FLOATS = ("f8E4M3FN", "bf16", "f32", "f64")


def bits_as(element: str) -> str:
    t = f"(tensor<2xui64>) -> (tensor<2xui64>, tensor<5x{element}>)"
    return f"""func.func @main(%s: tensor<2xui64>) -> (tensor<2xui64>, tensor<5x{element}>) {{
      %n, %b = stablehlo.rng_bit_generator %s, algorithm = THREE_FRY : {t}
      return %n, %b : tensor<2xui64>, tensor<5x{element}>
    }}"""


@ways
@pytest.mark.parametrize("element", [*INTEGERS, *FLOATS])
def test_random_bits_of_any_type_are_the_unsigned_ones(element: str, way: str) -> None:
    row = BY_MLIR[element]
    drawn = transformed(bits_as(f"ui{max(row.bits, 8)}"), [1, 2])[1]
    _, found = WAYS[way](bits_as(element), [1, 2])
    assert (found.shape, found.dtype) == ((5,), row.numpy)
    expected = drawn.view(f"i{drawn.itemsize}") if element.startswith("i") else drawn
    if row.bits < 8:
        expected = (drawn & 15).astype(np.int64)
        expected = np.where(expected > 7, expected - 16, expected) if element == "i4" else expected
    np.testing.assert_array_equal(found, expected.astype(row.numpy))


@ways
def test_philox_takes_a_state_of_three_words(way: str) -> None:
    text = bits_as("ui32").replace("2xui64", "3xui64").replace("THREE_FRY", "PHILOX")
    state, bits = WAYS[way](text, [1, 2, 3])
    assert state.tolist() == [1, 4, 3]
    assert bits.tolist() == [4031113034, 1366700262, 495645701, 3051723414, 89414891]


# Single bits


def bitcast(source: str, target: str) -> str:
    return f"""func.func @main(%x: tensor<{source}>) -> tensor<{target}> {{
      %r = stablehlo.bitcast_convert %x : (tensor<{source}>) -> tensor<{target}>
      return %r : tensor<{target}>
    }}"""


NUMBERS = {
    "i4": [5, -1, 3], "ui4": [5, 15, 3], "i8": [5, -128, 55], "ui8": [5, 255, 0],
    "ui32": [1 << 31, 7, 0], "i64": [-1, 1 << 62, 5],
    "f16": [1.5, -0.0, 0.1], "f32": [0.1, -1, np.inf],
    "f64": [0.1, -3, 1e300],
}  # fmt: skip


def bits_of(element: str) -> tuple[Any, Any]:
    row = BY_MLIR[element]
    numbers = np.array(NUMBERS[element]).astype(row.numpy)
    octets = np.frombuffer(numbers.tobytes(), np.uint8).reshape(3, -1)
    return numbers, np.unpackbits(octets, axis=1, bitorder="little")[:, : row.bits].astype(bool)


@ways
@pytest.mark.parametrize("element", NUMBERS)
def test_numbers_become_their_bits_and_bits_numbers(element: str, way: str) -> None:
    numbers, bits = bits_of(element)
    width = bits.shape[1]
    (found,) = WAYS[way](bitcast(f"3x{element}", f"3x{width}xi1"), numbers)
    np.testing.assert_array_equal(found, bits)
    (back,) = WAYS[way](bitcast(f"3x{width}xi1", f"3x{element}"), bits)
    assert back.tobytes() == numbers.tobytes()


# Complex numbers


def binary(operation: str, operands: str, element: str) -> str:
    t = f"tensor<{element}>"
    return f"""func.func @main(%x: tensor<5x{element}>, %y: tensor<5x{element}>, %s: {t})
      -> tensor<5x{element}> {{
      %r = "stablehlo.{operation}"({operands}) : ({{types}}) -> tensor<5x{element}>
      return %r : tensor<5x{element}>
    }}""".replace(
        "{types}",
        ", ".join(t if one == "%s" else f"tensor<5x{element}>" for one in operands.split(", ")),
    )


X = np.array([1 + 2j, 3, 1, 2 - 1j, -1 + 1j])
Y = np.array([2 + 1j, 2 + 9j, 1 - 1j, 2 - 2j, -1 + 1j])
S = np.array(1 + 1j)


@ways
@pytest.mark.parametrize("element", ["complex<f32>"])
@pytest.mark.parametrize(
    ("operation", "operands", "expected"),
    [
        ("maximum", "%x, %y", np.maximum(X, Y)),
        ("minimum", "%x, %y", np.minimum(X, Y)),
        ("maximum", "%y, %x", np.maximum(X, Y)),
        ("clamp", "%s, %x, %y", np.minimum(np.maximum(X, S), Y)),
        ("clamp", "%x, %y, %s", np.minimum(np.maximum(X, Y), S)),
    ],
)
def test_complex_numbers_are_in_lexicographic_order(
    operation: str, operands: str, expected: Any, element: str, way: str
) -> None:
    (found,) = WAYS[way](binary(operation, operands, element), X, Y, S)
    np.testing.assert_array_equal(found, expected)


WINDOW = "<{window_dimensions = array<i64: 2>}>"


@ways
@pytest.mark.parametrize(
    ("operation", "attributes", "size", "expected"),
    [
        ("reduce", "<{dimensions = array<i64: 0>}>", "", np.max(X)),
        ("reduce_window", WINDOW, "4x", np.maximum(X[1:], X[:-1])),
    ],
)
def test_reductions_of_complex_numbers_use_their_order(
    operation: str, attributes: str, size: str, expected: Any, way: str
) -> None:
    t, result = "tensor<complex<f32>>", f"tensor<{size}complex<f32>>"
    text = f"""func.func @main(%x: tensor<5xcomplex<f32>>) -> {result} {{
      %z = stablehlo.constant dense<(-9.0, 0.0)> : {t}
      %r = "stablehlo.{operation}"(%x, %z) {attributes} ({{
      ^bb0(%a: {t}, %b: {t}):
        %c = stablehlo.maximum %a, %b : {t}
        stablehlo.return %c : {t}
      }}) : (tensor<5xcomplex<f32>>, {t}) -> {result}
      return %r : {result}
    }}"""
    (found,) = WAYS[way](text, X)
    np.testing.assert_array_equal(found, expected)


# Convolutions


def padded(x: Any, edges: Any, dilation: int) -> Any:
    """Returns a plane with zeros between its elements and at its edges; negative edges cut."""
    for axis, (low, high) in enumerate(edges):
        size = x.shape[axis]
        spread = np.zeros(
            [(size - 1) * dilation + 1 if a == axis else n for a, n in enumerate(x.shape)]
        )
        spread[tuple(slice(None, None, dilation) if a == axis else slice(None) for a in (0, 1))] = x
        total = spread.shape[axis] + low + high
        index = np.arange(total) - low
        is_inside = (index >= 0) & (index < spread.shape[axis])
        taken = np.take(spread, np.where(is_inside, index, 0), axis)
        x = taken * np.expand_dims(is_inside, 1 - axis)
    return x


EDGES = [
    [[-1, 0], [1, 1]], [[0, -1], [2, 0]], [[-1, 2], [0, -1]], [[-2, 0], [1, 1]],
    [[-1, -1], [-1, 0]], [[-7, 8], [1, 0]], [[3, -2], [-3, 4]],
]  # fmt: skip


@pytest.mark.parametrize("way", ["directly", "transformed"])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("edges", EDGES, ids=str)
def test_convolutions_with_negative_padding_see_a_slice(
    edges: list[list[int]], dilation: int, way: str
) -> None:
    x, kernel = np.arange(1.0, 21).reshape(4, 5), np.array([[1.0, 2], [3, 5]])
    plane = padded(x, edges, dilation)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (2, 2))
    expected = np.einsum("abij,ij->ab", windows, kernel)
    result = f"tensor<1x{expected.shape[0]}x{expected.shape[1]}x1xf32>"
    types = "tensor<1x4x5x1xf32>, tensor<2x2x1x1xf32>"
    text = f"""func.func @main(%x: tensor<1x4x5x1xf32>, %k: tensor<2x2x1x1xf32>) -> {result} {{
      %r = "stablehlo.convolution"(%x, %k) <{{lhs_dilation = array<i64: {dilation}, {dilation}>,
        batch_group_count = 1 : i64, feature_group_count = 1 : i64,
        dimension_numbers = #stablehlo.conv<[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]>,
        padding = dense<{edges}> : tensor<2x2xi64>}}> : ({types}) -> {result}
      return %r : {result}
    }}"""
    (found,) = WAYS[way](text, x[None, :, :, None], kernel[:, :, None, None])
    np.testing.assert_array_equal(found[0, :, :, 0], expected)


def test_cropped_dimension_has_no_negative_edge_and_the_same_elements() -> None:
    for size, dilation, low, high in itertools.product(
        range(5), (1, 2, 3), range(-5, 4), range(-5, 4)
    ):
        whole = np.zeros((size - 1) * dilation + 1 if size else 0)
        whole[::dilation] = range(1, size + 1)
        total = len(whole) + low + high
        if total < 0:
            continue
        expected = [whole[i - low] if 0 <= i - low < len(whole) else 0 for i in range(total)]
        start, limit, before, after = _cropped(size, dilation, low, high)
        assert before >= 0
        assert after >= 0
        cut = np.arange(start + 1, limit + 1)
        spread = np.zeros((len(cut) - 1) * dilation + 1 if len(cut) else 0)
        spread[::dilation] = cut
        assert [*[0] * before, *spread, *[0] * after] == expected


# Narrow indices

INDICES = """func.func @main(%x: tensor<200xf32>, %i: tensor<T>)
    -> (tensor<f32>, tensor<200xf32>, tensor<f32>, tensor<200xf32>) {
  %v = stablehlo.dynamic_slice %x, %i, sizes = [1] : (tensor<200xf32>, tensor<T>) -> tensor<1xf32>
  %s = stablehlo.reshape %v : (tensor<1xf32>) -> tensor<f32>
  %n = stablehlo.constant dense<-1.0> : tensor<1xf32>
  %m = stablehlo.constant dense<-1.0> : tensor<f32>
  %u = stablehlo.dynamic_update_slice %x, %n, %i
    : (tensor<200xf32>, tensor<1xf32>, tensor<T>) -> tensor<200xf32>
  %j = stablehlo.reshape %i : (tensor<T>) -> tensor<1xT>
  %g = "stablehlo.gather"(%x, %j) <{slice_sizes = array<i64: 1>, dimension_numbers =
    #stablehlo.gather<collapsed_slice_dims = [0], start_index_map = [0], index_vector_dim = 0>}>
    : (tensor<200xf32>, tensor<1xT>) -> tensor<f32>
  %c = "stablehlo.scatter"(%x, %j, %m) <{scatter_dimension_numbers = #stablehlo.scatter<
    inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 0>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    stablehlo.return %b : tensor<f32>
  }) : (tensor<200xf32>, tensor<1xT>, tensor<f32>) -> tensor<200xf32>
  return %s, %u, %g, %c : tensor<f32>, tensor<200xf32>, tensor<f32>, tensor<200xf32>
}"""


@ways
@pytest.mark.parametrize(
    ("element", "index"),
    [
        ("i4", 7), ("i8", -128), ("i8", 127), ("ui8", 150), ("ui8", 255), ("i16", 300),
        ("ui32", (1 << 32) - 1), ("ui32", 199), ("i64", -1),
    ],
)  # fmt: skip
def test_index_of_any_type_reads_and_writes_its_own_place(
    element: str, index: int, way: str
) -> None:
    x = np.arange(1, 201, dtype=np.float32)
    read, updated, gathered, scattered = WAYS[way](
        INDICES.replace("T>", f"{element}>").replace("xT", f"x{element}"), x, index
    )
    place = np.clip(index, 0, 199)
    assert read == gathered == x[place]
    written = np.where(np.arange(200) == place, -1, x)
    np.testing.assert_array_equal(updated, written)
    np.testing.assert_array_equal(scattered, written if index == place else x)


# Reductions


def reduction(operation: str, attributes: str, size: str, element: str, wide: str) -> str:
    t = f"tensor<{wide}>"
    return f"""func.func @main(%x: tensor<4x{element}>) -> tensor<{size}{wide}> {{
      %z = stablehlo.constant dense<0> : tensor<i32>
      %y = stablehlo.convert %z : (tensor<i32>) -> {t}
      %r = "stablehlo.{operation}"(%x, %y) {attributes} ({{
      ^bb0(%a: {t}, %b: {t}):
        %c = stablehlo.add %a, %b : {t}
        stablehlo.return %c : {t}
      }}) : (tensor<4x{element}>, {t}) -> tensor<{size}{wide}>
      return %r : tensor<{size}{wide}>
    }}"""


@ways
@pytest.mark.parametrize(("element", "wide"), [("i8", "i32"), ("f16", "f32")])
def test_reductions_are_computed_in_the_type_of_their_region(
    element: str, wide: str, way: str
) -> None:
    whole = reduction("reduce", "<{dimensions = array<i64: 0>}>", "", element, wide)
    assert WAYS[way](whole, [100, 100, 100, 27]) == [327]
    pairs = reduction("reduce_window", WINDOW, "3x", element, wide)
    assert WAYS[way](pairs, [100, 100, 100, 27])[0].tolist() == [200, 200, 127]
