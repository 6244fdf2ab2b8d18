"""Loop counters wrap around as their types do, and known trip counts are those of the program."""

from __future__ import annotations

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.importer.loops.trip_count import _trip_count
from tests.stablehlo.running import batched, directly, transformed

COMPARE = {"LT": operator.lt, "LE": operator.le, "GT": operator.gt, "GE": operator.ge}
NUMPY = {"i8": np.int8, "ui8": np.uint8, "i16": np.int16, "i32": np.int32, "i64": np.int64}


def count(start: int, step: int, limit: int, direction: str, dtype: Any) -> int | None:
    """Returns the turns of a loop in numpy's arithmetic, None if it is endless."""
    value, seen = np.array([start]).astype(dtype), 0
    while COMPARE[direction](int(value[0]), limit):
        value = value + np.array([step]).astype(dtype)
        seen += 1
        if seen > 1 << 9:
            return None
    return seen


@given(
    st.sampled_from([np.int8, np.uint8]),
    st.integers(0, 255),
    st.integers(-128, 127),
    st.integers(0, 255),
    st.sampled_from(sorted(COMPARE)),
)
def test_trip_count_is_that_of_a_loop_in_its_own_type(
    dtype: Any, start: int, step: int, limit: int, direction: str
) -> None:
    low = int(np.iinfo(dtype).min)
    found = _trip_count(start + low, limit + low, step, direction, dtype)
    if found is not None:
        assert found == count(start + low, step, limit + low, direction, dtype)


def test_floating_point_counter_beyond_its_integers_has_no_known_trip_count() -> None:
    """In f16 2048 + 1 is 2048, so that such a loop does not end."""
    assert _trip_count(0, 2048, 1, "LT", np.float16) == 2048
    assert _trip_count(0, 2049, 1, "LT", np.float16) is None
    assert _trip_count(-(1 << 25), 0, 1, "LT", np.float32) is None


def counting(element: str, start: int, step: int, limit: int, direction: str) -> str:
    t = f"tensor<{element}>"
    return f"""func.func @main(%x: tensor<f32>) -> tensor<f32> {{
      %start = stablehlo.constant dense<{start}> : {t}
      %step = stablehlo.constant dense<{step}> : {t}
      %end = stablehlo.constant dense<{limit}> : {t}
      %z = stablehlo.constant dense<0.0> : tensor<f32>
      %r:2 = stablehlo.while(%i = %start, %s = %z) : {t}, tensor<f32>
      cond {{
        %c = stablehlo.compare {direction}, %i, %end : ({t}, {t}) -> tensor<i1>
        stablehlo.return %c : tensor<i1>
      }} do {{
        %n = stablehlo.add %i, %step : {t}
        %t = stablehlo.add %s, %x : tensor<f32>
        stablehlo.return %n, %t : {t}, tensor<f32>
      }}
      return %r#1 : tensor<f32>
    }}"""


@pytest.mark.parametrize(
    ("element", "start", "step", "limit", "direction"),
    [
        ("i8", 0, 50, 120, "LT"),
        ("i8", 0, -50, -120, "GT"),
        ("ui8", 3, 100, 250, "LE"),
        ("ui8", 250, 255, 3, "GT"),
        ("i16", 0, 20_000, 30_000, "LT"),
        ("i32", 2_000_000_000, 100_000_000, 2_100_000_001, "LE"),
        ("i32", 0, 3, 10, "LT"),
    ],
)
def test_counter_that_wraps_gives_the_turns_of_its_type(
    element: str, start: int, step: int, limit: int, direction: str
) -> None:
    text = counting(element, start, step, limit, direction)
    expected = count(start, step, limit, direction, NUMPY[element])
    assert expected is not None
    assert [way(text, 1)[0] for way in (directly, transformed, batched)] == [expected] * 3
    if element in ("i8", "i16"):
        assert jax.grad(lambda x: import_module(text)(x)[0])(jnp.float32(1)) == expected


def second_counter(element: str, start: int, step: int) -> str:
    """A loop of 200 turns that reads and writes at another counter."""
    t = f"tensor<{element}>"
    v = "tensor<200xf32>"
    return f"""func.func @main(%x: {v}) -> (tensor<f32>, {v}, {t}) {{
      %zero = stablehlo.constant dense<0> : tensor<i32>
      %one = stablehlo.constant dense<1> : tensor<i32>
      %start = stablehlo.constant dense<{start}> : {t}
      %step = stablehlo.constant dense<{step}> : {t}
      %n = stablehlo.constant dense<200> : tensor<i32>
      %z = stablehlo.constant dense<0.0> : tensor<f32>
      %y = stablehlo.constant dense<0.0> : {v}
      %r:4 = stablehlo.while(%i = %zero, %j = %start, %s = %z, %w = %y)
        : tensor<i32>, {t}, tensor<f32>, {v}
      cond {{
        %c = stablehlo.compare LT, %i, %n : (tensor<i32>, tensor<i32>) -> tensor<i1>
        stablehlo.return %c : tensor<i1>
      }} do {{
        %v = stablehlo.dynamic_slice %x, %j, sizes = [1] : ({v}, {t}) -> tensor<1xf32>
        %v1 = stablehlo.reshape %v : (tensor<1xf32>) -> tensor<f32>
        %t = stablehlo.add %s, %v1 : tensor<f32>
        %u = stablehlo.dynamic_update_slice %w, %v, %j : ({v}, tensor<1xf32>, {t}) -> {v}
        %k = stablehlo.add %i, %one : tensor<i32>
        %l = stablehlo.add %j, %step : {t}
        stablehlo.return %k, %l, %t, %u : tensor<i32>, {t}, tensor<f32>, {v}
      }}
      return %r#2, %r#3, %r#1 : tensor<f32>, {v}, {t}
    }}"""


@pytest.mark.parametrize(
    ("element", "start", "step"),
    [("i8", 0, 1), ("i8", 127, -1), ("ui8", 100, 1), ("ui8", 199, 255), ("i16", 0, 1)],
)
def test_second_counter_that_wraps_reads_and_writes_its_own_rows(
    element: str, start: int, step: int
) -> None:
    dtype = NUMPY[element]
    counter = np.array([start]).astype(dtype)
    x = np.arange(200, dtype=np.float32)
    reads, written = np.zeros(200, np.float32), np.zeros(200, np.float32)
    for _ in range(200):
        place = np.clip(int(counter[0]), 0, 199)
        reads[place] += 1
        written[place] = x[place]
        counter = counter + np.array([step]).astype(dtype)
    text = second_counter(element, start, step)
    for way in (directly, transformed, batched):
        total, copied, last = way(text, x)
        assert total == (reads * x).sum()
        np.testing.assert_array_equal(copied, written)
        assert last == counter[0] or way is directly  # XLA:CPU has it wrong, openxla/xla#41430
    gradient = jax.grad(lambda x: import_module(text)(x)[0])(jnp.asarray(x))
    np.testing.assert_array_equal(gradient, reads)


DIVISION = """func.func @main() -> tensor<4xi8> {
  %x = stablehlo.constant dense<[-128, -128, 100, -7]> : tensor<4xi8>
  %y = stablehlo.constant dense<[2, -1, -128, 2]> : tensor<4xi8>
  %r = stablehlo.divide %x, %y : tensor<4xi8>
  return %r : tensor<4xi8>
}"""


def test_folded_division_of_the_smallest_integer_is_that_of_its_type() -> None:
    for way in (directly, transformed):
        assert way(DIVISION)[0].tolist() == [-64, -128, 0, -3]
