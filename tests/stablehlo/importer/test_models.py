"""An imported model equals the model it was lowered from: values, derivatives, batches.

Each quantity is compiled for the original and for the import together, and compared once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.errors import NotSupported
from jaxfs.stablehlo import import_module
from tests.stablehlo.importer.models import MODELS, Model

DOCUMENT = Path(__file__).parents[3] / "docs/reports/models.md"
TOLERANCE = 1e-5
QUICK = ("xla_llvm_disable_expensive_passes",)  # compiling takes most of the time here
Flat = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def pair(model: Model) -> tuple[Flat, Flat, list[Any]]:
    """Returns the original, the import of its text, and inputs."""
    inputs = model.inputs()
    text = jax.jit(model.function).lower(*inputs).as_text()
    imported = import_module(text)
    reference = model.reference or model.function
    return (
        lambda *xs: jax.tree.leaves(reference(*xs)),
        lambda *xs: list(imported(*xs)),
        inputs,
    )


def loss(function: Flat) -> Callable[..., Any]:
    """Returns a scalar function: the weighted sum of all elements of differentiable outputs."""

    def call(*inputs: Any) -> Any:
        outputs = [y for y in function(*inputs) if jnp.issubdtype(y.dtype, jnp.floating)]
        weights = [jnp.cos(jnp.arange(y.size, dtype=jnp.float64)).reshape(y.shape) for y in outputs]
        return sum(jnp.sum(w * jnp.sin(y)) for w, y in zip(weights, outputs, strict=True))

    return call


def assert_close(found: Any, expected: Any) -> None:
    found, expected = jax.tree.leaves(found), jax.tree.leaves(expected)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def quantities(function: Flat, inputs: list[Any], *, reverse: bool) -> Callable[[], Any]:
    """Returns value, batch, jvp and, with a reverse mode, gradient and Hessian times vector."""
    direction = [jnp.cos(x * 3) for x in inputs]
    scalar, every = loss(function), tuple(range(len(inputs)))

    def compute() -> Any:
        batch = [jnp.stack([x, x * 0.9]) for x in inputs]
        found = {
            "value": function(*inputs),
            "vmap": jax.vmap(function)(*batch),
            "jvp": jax.jvp(scalar, inputs, direction),
        }
        if reverse:
            gradient = jax.grad(scalar, every)
            found["grad"] = gradient(*inputs)
            found["second"] = jax.jvp(gradient, inputs, direction)[1]
        return found

    return compute


@pytest.mark.parametrize("name", MODELS)
def test_imported_model_is_the_model(name: str) -> None:
    model = MODELS[name]
    original, imported, inputs = pair(model)
    reverse = not model.refusal
    compute = [quantities(f, inputs, reverse=reverse) for f in (imported, original)]
    found, expected = jax.jit(
        lambda: [one() for one in compute], compiler_options=dict.fromkeys(QUICK, True)
    )()
    for quantity in expected:
        assert_close(found[quantity], expected[quantity])


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.refusal])
def test_missing_derivative_is_refused_naming_the_operation(name: str) -> None:
    _, imported, inputs = pair(MODELS[name])
    with pytest.raises(NotSupported, match=r"stablehlo\.\w+ at line \d+ " + MODELS[name].refusal):
        jax.grad(loss(imported))(*inputs)


def columns(model: Model) -> tuple[str, str]:
    """Returns its columns of the table: reverse mode, what a mount was tried with."""
    if model.refusal:
        return model.refusal, "value, jvp; the gradient is refused"
    tried = "value, vmap, gradient" if model.is_costly else "value, vmap, gradient, jvp, second"
    return "yes", tried


def document() -> str:
    """Returns the text of docs/reports/models.md."""
    rows = [f"| {name} | {' | '.join(columns(model))} |" for name, model in MODELS.items()]
    return "\n".join(
        [
            "# Models",
            "",
            "Models that JAX lowers to StableHLO and `jaxfs.stablehlo.import_module` takes back,",
            "in `tests/stablehlo/importer/models.py`. Values, batches and directional derivatives",
            f"are the original's to {TOLERANCE:g}, and so are gradients and second derivatives",
            "(Hessian times vector) where the table says yes. All are tried as files of a mount",
            "too (`tests/e2e/test_models.py`): by `vmap/...` and `jvp/value_and_grad/...`, which",
            "gives second derivatives; those that take seconds to compile by `value_and_grad/...`.",
            "Made by",
            "`JAXFS_UPDATE_DOCS=1 python -m pytest tests/stablehlo/importer/test_models.py`.",
            "",
            f"{len(MODELS)} models, {sum(not m.refusal for m in MODELS.values())} in every way.",
            "",
            "| model | reverse mode | in a mount |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def test_table_of_models_is_current() -> None:
    """Writes the table instead if JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document()
