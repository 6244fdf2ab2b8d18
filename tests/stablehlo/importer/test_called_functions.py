"""Operations that run as they are bring the functions that they name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxfs.stablehlo import import_module
from tests.stablehlo.running import WAYS

X = np.array([3.0, -1, 7, 5, 0, 7.5, -9, 2], np.float32)


def maximum(x: Any) -> Any:
    return lax.approx_max_k(x, 3)


def minimum(x: Any) -> Any:
    return lax.approx_min_k(x, 3)


def of_rows(x: Any) -> Any:
    return lax.approx_max_k(x.reshape(2, 4), 2, reduction_dimension=0)


def text_of(function: Callable[..., Any]) -> str:
    return str(jax.jit(function).lower(X).as_text())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("function", [maximum, minimum, of_rows])
def test_approximate_extrema_are_those_of_jax(function: Callable[..., Any], way: str) -> None:
    for found, expected in zip(WAYS[way](text_of(function), X), function(X), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_approximate_extrema_have_the_derivative_of_jax() -> None:
    function = import_module(text_of(maximum))
    found = jax.grad(lambda x: jnp.sum(function(x)[0]))(jnp.asarray(X))
    np.testing.assert_array_equal(found, jax.grad(lambda x: jnp.sum(maximum(x)[0]))(X))


@pytest.mark.parametrize("way", WAYS)
def test_approximate_extrema_of_other_pairs_run_with_their_comparator(way: str) -> None:
    text = text_of(maximum).replace("stablehlo.iota dim = 0 :", "stablehlo.constant dense<5> :")
    values, pairs = WAYS[way](text, X)
    np.testing.assert_array_equal(values, [7.5, 7, 5])
    np.testing.assert_array_equal(pairs, [5, 5, 5])


SORT = """func.func private @before(%a: tensor<f32>, %b: tensor<f32>) -> tensor<i1> {
  %c = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
  return %c : tensor<i1>
}
func.func private @twice(%a: tensor<f32>, %b: tensor<f32>) -> tensor<i1> {
  %c = func.call @before(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<i1>
  return %c : tensor<i1>
}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %r = "stablehlo.sort"(%x) <{dimension = 0 : i64}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %c = func.call @twice(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<i1>
    stablehlo.return %c : tensor<i1>
  }) : (tensor<8xf32>) -> tensor<8xf32>
  return %r : tensor<8xf32>
}"""
SCATTER = """func.func private @odd(%a: tensor<f32>, %b: tensor<f32>) -> tensor<f32> {
  %c = stablehlo.multiply %a, %b : tensor<f32>
  %d = stablehlo.add %c, %b : tensor<f32>
  return %d : tensor<f32>
}
func.func @main(%x: tensor<8xf32>) -> tensor<8xf32> {
  %i = stablehlo.constant dense<[[2], [0]]> : tensor<2x1xi32>
  %u = stablehlo.constant dense<[10.0, 20.0]> : tensor<2xf32>
  %r = "stablehlo.scatter"(%x, %i, %u) <{scatter_dimension_numbers = #stablehlo.scatter<
    inserted_window_dims = [0], scatter_dims_to_operand_dims = [0], index_vector_dim = 1>}> ({
  ^bb0(%a: tensor<f32>, %b: tensor<f32>):
    %c = func.call @odd(%a, %b) : (tensor<f32>, tensor<f32>) -> tensor<f32>
    stablehlo.return %c : tensor<f32>
  }) : (tensor<8xf32>, tensor<2x1xi32>, tensor<2xf32>) -> tensor<8xf32>
  return %r : tensor<8xf32>
}"""


@pytest.mark.parametrize("way", WAYS)
def test_region_that_calls_functions_runs_with_them(way: str) -> None:
    np.testing.assert_array_equal(WAYS[way](SORT, X)[0], sorted(X, reverse=True))
    expected = X.copy()
    expected[[2, 0]] = [7 * 10 + 10, 3 * 20 + 20]
    np.testing.assert_array_equal(WAYS[way](SCATTER, X)[0], expected)
