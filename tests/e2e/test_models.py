"""Models that JAX lowered, differentiated and batched by paths: the numbers are JAX's own.

What ``tests/stablehlo/importer/test_models.py`` says of the import as a function, said of files: a
model's text is copied in, and calls go to ``jvp/value_and_grad`` and to ``vmap`` of it.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.conftest import Mount
from tests.stablehlo.importer.models import MODELS, Model
from tests.stablehlo.importer.test_models import QUICK, assert_close, loss

Arrays = Sequence[Any]
Function = Callable[..., Any]
WITH_REVERSE = [name for name, model in MODELS.items() if not model.refusal]
WITHOUT = [name for name, model in MODELS.items() if model.refusal]


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def beside() -> Iterator[ThreadPoolExecutor]:
    """The mount works while JAX computes here what it should find."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def with_loss(function: Function) -> Function:
    """(a scalar, what the function gives)."""
    scalar = loss(lambda *outputs: list(outputs))

    def call(*inputs: Any) -> Any:
        outputs = jax.tree.leaves(function(*inputs))
        return scalar(*outputs), outputs

    return call


def text(model: Model) -> str:
    return str(jax.jit(with_loss(model.function)).lower(*model.inputs()).as_text())


def written(inputs: Arrays) -> bytes:
    stream = io.BytesIO()
    for one in inputs:
        np.save(stream, one)
    return stream.getvalue()


def given_by(mount: Mount, path: str, inputs: Arrays) -> list[Any]:
    """The outputs of a call, and nothing of it left behind."""
    (mount.path / path / "calls/x").write_bytes(written(inputs))
    result = mount.path / "results/x"
    try:
        return arrays(result.read_bytes())
    finally:
        result.unlink()


def arrays(data: bytes) -> list[Any]:
    stream = io.BytesIO(data)
    found = []
    while stream.tell() < len(data):
        found.append(np.load(stream))
    return found


def computed(function: Function, *inputs: Any) -> list[Any]:
    found = jax.jit(function, compiler_options=dict.fromkeys(QUICK, True))(*inputs)
    return [one for one in jax.tree.leaves(found) if one.dtype != jax.dtypes.float0]


def batches(inputs: Arrays) -> list[Any]:
    return [jnp.stack([x, x * 0.9]) for x in inputs]


def directions(inputs: Arrays) -> list[Any]:
    return [jnp.cos(x * 3) for x in inputs]


def value_and_gradients(function: Function, count: int) -> Function:
    """As a path has them: the value, its gradients, what only passes through."""
    derive = jax.value_and_grad(function, tuple(range(count)), has_aux=True)

    def call(*inputs: Any) -> list[Any]:
        (value, outputs), gradients = derive(*inputs)
        return [value, *gradients, *outputs]

    return call


def with_tangents(function: Function, inputs: Arrays, tangents: Arrays) -> Any:
    return jax.jvp(function, list(inputs), list(tangents))


@pytest.mark.parametrize("name", WITH_REVERSE)
def test_model_in_a_mount_is_the_model(mount: Mount, beside: ThreadPoolExecutor, name: str) -> None:
    """Value, gradient and batch; and value's and gradient's directional derivatives."""
    model = MODELS[name]
    inputs, source = model.inputs(), text(model)
    tangents, batch, count = directions(inputs), batches(inputs), len(inputs)
    gradients = f"value_and_grad:argnums={','.join(map(str, range(count)))}:has_aux=1"

    def through_files() -> list[list[Any]]:
        mount.add(f"{name}.mlir", source)
        derived = (
            (gradients, inputs) if model.is_costly else (f"jvp/{gradients}", [*inputs, *tangents])
        )
        return [
            given_by(mount, f"programs/{name}", inputs),
            given_by(mount, f"transformations/{derived[0]}/{name}", derived[1]),
            given_by(mount, f"transformations/vmap/{name}", batch),
        ]

    waiting = beside.submit(through_files)
    original = with_loss(model.reference or model.function)
    derived = value_and_gradients(original, count)

    def by_jax(x: Arrays, t: Arrays, b: Arrays) -> Any:
        slopes = derived(*x) if model.is_costly else with_tangents(derived, x, t)
        return original(*x), slopes, jax.vmap(original)(*b)

    expected = computed(by_jax, inputs, tangents, batch)
    assert_close(waiting.result(), expected)


@pytest.mark.parametrize("name", WITHOUT)
def test_missing_gradient_of_a_model_names_the_operation_in_files(mount: Mount, name: str) -> None:
    model = MODELS[name]
    inputs, original = model.inputs(), with_loss(model.reference or model.function)
    mount.add(f"{name}.mlir", text(model))
    gradient = mount.path / f"transformations/grad:has_aux=1/{name}"
    with pytest.raises(OSError) as caught:
        (gradient / "calls/refused").write_bytes(written(inputs))
    assert caught.value.errno == errno.EOPNOTSUPP
    told = (gradient / "error").read_text()
    assert "stablehlo." in told
    assert model.refusal in told
    tangents = directions(inputs)
    found = given_by(mount, f"transformations/jvp/{name}", [*inputs, *tangents])
    assert_close(found, computed(lambda x, t: with_tangents(original, x, t), inputs, tangents))
