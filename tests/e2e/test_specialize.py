"""Programs whose sizes come with the call: one specialization for each set of sizes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import Mount

TEXT = """
func.func public @main(%x: tensor<?x3xf32>) -> tensor<?x3xf32> {
  %y = stablehlo.tanh %x : tensor<?x3xf32>
  return %y : tensor<?x3xf32>
}
"""
EXPORT = """
import sys, jax, jax.numpy as jnp
from jax import export
shape = jax.ShapeDtypeStruct(export.symbolic_shape("b, 3"), jnp.float32)
sys.stdout.buffer.write(export.export(jax.jit(jnp.tanh))(shape).serialize())
"""


def source(kind: str) -> bytes:
    if kind == "mlir":
        return TEXT.encode()
    return subprocess.check_output([sys.executable, "-c", EXPORT], timeout=120)


@pytest.mark.parametrize("kind", ["mlir", "jaxexport"])
def test_sizes_come_with_the_call(mount: Mount, kind: str) -> None:
    program = mount.add(f"dynamic.{kind}", source(kind))
    assert mount.keyed("programs/dynamic/status")["state"] == "untyped"
    for rows in (1, 4):
        x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3) / 10
        with (program / f"calls/d{rows}").open("wb") as file:
            np.save(file, x)
        np.testing.assert_allclose(np.load(mount.path / f"results/d{rows}"), np.tanh(x), 1e-6)
    found = sorted(os.listdir(program / "specializations"))
    assert found == ["f32_1x3", "f32_4x3"]


@pytest.mark.parametrize(("kind", "size"), [("mlir", "?"), ("jaxexport", "b")])
def test_what_is_known_of_the_types_is_shown_and_numbers_take_it(
    mount: Mount, kind: str, size: str
) -> None:
    program = mount.add(f"dynamic.{kind}", source(kind))
    assert (program / "signature").read_text() == f"in 0 x f32[{size},3]\n"
    mount.sh("echo '[[0, 1, -1]]' > programs/dynamic/calls/whole")
    np.testing.assert_allclose(
        np.load(mount.path / "results/whole"), np.tanh(np.array([[0, 1, -1]], np.float32)), 1e-6
    )
    assert os.listdir(program / "specializations") == ["f32_1x3"]
    with pytest.raises(OSError) as caught, (program / "calls/double").open("wb") as file:
        np.save(file, np.zeros((2, 3)))
    assert caught.value.errno == errno.EINVAL
    told = (mount.path / "results/double.error").read_text()
    assert f"x is f32[{size},3], got f64[2,3]" in told


def test_sizes_that_do_not_fit_are_refused_in_words(mount: Mount) -> None:
    program = mount.add("dynamic.mlir", TEXT)
    with pytest.raises(OSError) as caught, (program / "calls/bad").open("wb") as file:
        np.save(file, np.zeros((2, 4), np.float32))
    assert caught.value.errno == errno.EINVAL
    told = (mount.path / "results/bad.error").read_text()
    assert "f32[2,4]" in told
    assert "3" in told
