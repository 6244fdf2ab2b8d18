"""An imported model computes, and is differentiated and batched, as its original."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.stablehlo import import_module
from tests.stablehlo.importer.models import MODELS, Model

DOCUMENT = Path(__file__).parents[3] / "docs/MODELS.md"
TOLERANCE = 1e-5
Way = Callable[[Callable[..., Any], Any], Any]


@pytest.fixture(autouse=True)
def _with_64_bits() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def _leaves(outputs: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(outputs) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _scalar(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: sum(
        jnp.sum(jnp.real(leaf) * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape))
        for leaf in _leaves(function(x))
    )


def _value(function: Callable[..., Any], x: Any) -> Any:
    return function(x)


def _gradient(function: Callable[..., Any], x: Any) -> Any:
    return jax.grad(_scalar(function))(x)


def _jvp(function: Callable[..., Any], x: Any) -> Any:
    return jax.jvp(_scalar(function), (x,), (jnp.cos(x),))[1]


def _vmap(function: Callable[..., Any], x: Any) -> Any:
    return jax.vmap(function)(jnp.stack([x, x * 1.01]))


def _second(function: Callable[..., Any], x: Any) -> Any:
    """The Hessian times a vector, forward over reverse."""
    return jax.jvp(jax.grad(_scalar(function)), (x,), (jnp.sin(x + 1),))[1]


WAYS: dict[str, Way] = {
    "value": _value,
    "gradient": _gradient,
    "jvp": _jvp,
    "vmap": _vmap,
    "second derivative": _second,
}
REVERSE = frozenset({"gradient", "second derivative"})


def _imported(model: Model) -> tuple[Any, Callable[..., Any]]:
    x = jnp.asarray(model.at)
    return x, import_module(jax.jit(model.function).lower(x).as_text())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_imported_model_is_its_original_in_every_way(model: Model) -> None:
    x, ours = _imported(model)

    def everything(function: Callable[..., Any]) -> Callable[[Any], list[Any]]:
        ways = [way for name, way in WAYS.items() if not (model.why_not and name in REVERSE)]
        return jax.jit(lambda at: [jax.tree.leaves(way(function, at)) for way in ways])

    for found, expected in zip(everything(ours)(x), everything(model.function)(x), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(
                np.asarray(one, complex), np.asarray(other, complex), TOLERANCE, TOLERANCE
            )


def test_a_loop_of_unknown_length_says_why_it_has_no_gradient() -> None:
    (model,) = [model for model in MODELS if model.why_not]
    x, ours = _imported(model)
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        _gradient(ours, x)


def test_table_of_models_is_current() -> None:
    """Rewrites it where JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document()


def document() -> str:
    """What is compared, for each model."""
    rows = [f"| {model.name} | {_ways(model)} | {model.why_not} |" for model in MODELS]
    return "\n".join(
        [
            "# Models",
            "",
            "Models that JAX lowers to StableHLO and `jaxfs.stablehlo.import_module` takes back,",
            f"in `tests/stablehlo/importer/`, compared with their originals to {TOLERANCE:g}; made by",
            "`JAXFS_UPDATE_DOCS=1 python -m pytest tests/stablehlo/importer/test_models.py`.",
            "",
            f"{len(MODELS)} models; {sum(not m.why_not for m in MODELS)} in every way.",
            "",
            "| model | the same as the original's | what is not, and why |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def _ways(model: Model) -> str:
    return ", ".join(name for name in WAYS if not (model.why_not and name in REVERSE))
