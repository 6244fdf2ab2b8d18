"""``transformations/``: paths as expressions, over every kind of program."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Mount
from tests.e2e.programs import made
from tests.e2e.test_pickles import CALL

LOSS = """
func.func public @main(%w: tensor<3xf32>, %x: tensor<3xf32>)
    -> (tensor<f32> {jax.result_info = "loss"}) {
  %p = stablehlo.multiply %w, %x : tensor<3xf32>
  %t = stablehlo.tanh %p : tensor<3xf32>
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %s = stablehlo.reduce(%t init: %zero) applies stablehlo.add across dimensions = [0]
      : (tensor<3xf32>, tensor<f32>) -> tensor<f32>
  return %s : tensor<f32>
}
"""
VECTOR = """
func.func public @main(%x: tensor<3xf32>) -> tensor<3xf32> {
  return %x : tensor<3xf32>
}
"""
EXPORT = """
import sys, jax, jax.numpy as jnp
from jax import export
def loss(w, x): return jnp.tanh(w * x).sum()
shape = jax.ShapeDtypeStruct((3,), jnp.float32)
sys.stdout.buffer.write(export.export(jax.jit(loss))(shape, shape).serialize())
"""
W, X = np.array([0.1, -0.2, 0.3], np.float32), np.array([1, 2, 3], np.float32)
D_W = X * (1 - np.tanh(W * X) ** 2)
D_X = W * (1 - np.tanh(W * X) ** 2)
TEXT = f"{W.tolist()} {X.tolist()}"


def sources() -> dict[str, bytes]:
    return {
        "loss.mlir": LOSS.encode(),
        "loss.jaxexport": subprocess.check_output([sys.executable, "-c", EXPORT], timeout=120),
        "loss.pkl": made("def loss(w, x): return jnp.tanh(w * x).sum()", "loss"),
    }


def called(mount: Mount, place: str, text: str, view: str = "npy") -> np.ndarray:
    """What a transformed program gives."""
    mount.sh(f"echo '{text}' > transformations/{place}/calls/t")
    try:
        found: np.ndarray = np.load(mount.path / f"results/t.{view}")
        return found
    finally:
        os.unlink(mount.path / "results/t")


@pytest.mark.parametrize("kind", ["mlir", "jaxexport", "pkl"])
def test_grad_of_every_kind_of_program(mount: Mount, kind: str) -> None:
    mount.add(f"loss.{kind}", sources()[f"loss.{kind}"])
    np.testing.assert_allclose(called(mount, "grad/loss", TEXT), D_W, rtol=1e-5)
    np.testing.assert_allclose(called(mount, "grad:argnums=1/loss", TEXT), D_X, rtol=1e-5)
    both = [called(mount, "grad:argnums=0,1/loss", TEXT, f"{k}.npy") for k in (0, 1)]
    np.testing.assert_allclose(both, [D_W, D_X], rtol=1e-5)


@pytest.mark.parametrize("kind", ["mlir", "jaxexport", "pkl"])
def test_vmap_of_grad_takes_its_batch_size_from_the_call(mount: Mount, kind: str) -> None:
    mount.add(f"loss.{kind}", sources()[f"loss.{kind}"])
    batch = np.stack([X, 2 * X, 3 * X])
    text = f"{W.tolist()} {batch.tolist()}"
    got = called(mount, "vmap:in_axes=_,0/grad/loss", text)
    expected = [x * (1 - np.tanh(W * x) ** 2) for x in batch]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


INTEGER = VECTOR.replace("f32", "i32")


def test_whole_numbers_take_the_type_of_a_batched_program(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    here = "vmap:in_axes=_,0/grad:argnums=1/loss"
    signature = mount.path / f"transformations/{here}/signature"
    mount.sh(f"cat transformations/{here}/status")
    got = called(mount, here, "[1, 1, 0] [[0, 0, 0], [0, 1, 2]]")
    np.testing.assert_allclose(got[0], [1, 1, 0], rtol=1e-6)
    assert signature.read_text() == "in 0 w f32[3]\nin 1 x f32[?,3]\n"


def test_whole_numbers_take_the_type_beside_bound_inputs(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    here = mount.path / "transformations/vmap:in_axes=_,0/loss"
    assert here.joinpath("signature").read_text() == "in 0 w f32[3]\nin 1 x f32[?,3]\n"
    mount.sh("echo '[[1.0, 2, 3], [0, 0, 0]]' > arrays/x")
    mount.sh("ln -s ../../../../arrays/x 'transformations/vmap:in_axes=_,0/loss/inputs/x'")
    got = called(mount, "vmap:in_axes=_,0/loss", "[1, 0, 0]")
    np.testing.assert_allclose(got, [np.tanh(1), 0], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[1.5, 0, 0]]", "expected i32[1,3], got 1.5"),
        ("[[1, 2]]", "x is i32[?,3], got i32[1,2]"),
        ("[[[1, 2, 3]]]", "x is i32[?,3], got i32[1,1,3]"),
        ("[[1, 2, 3]] [4]", "expected 1 inputs (i32[?,3]), got 2"),
    ],
)
def test_numbers_that_do_not_fit_a_batched_program_are_refused(
    mount: Mount, text: str, words: str
) -> None:
    mount.add("numbers.mlir", INTEGER)
    here = mount.path / "transformations/vmap/numbers"
    with pytest.raises(OSError) as caught:
        (here / "calls/bad").write_text(text)
    assert caught.value.errno == errno.EINVAL
    assert words in (mount.path / "results/bad.error").read_text()
    assert os.listdir(here / "specializations") == []


def test_the_batch_size_may_stand_in_the_path(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    here = "transformations/vmap:axis_size=4/loss"
    assert mount.keyed(f"{here}/status")["state"] == "unused"
    signature = (mount.path / here / "signature").read_text().splitlines()
    assert signature[:2] == ["in 0 w f32[4,3]", "in 1 x f32[4,3]"]
    assert signature[2].endswith("f32[4]")
    assert mount.keyed(f"{here}/status")["state"] == "ready"


def test_a_transformed_program_is_a_program(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    here = mount.path / "transformations/value_and_grad/loss"
    assert "stablehlo.tanh" in (here / "stablehlo.mlir").read_text()
    assert (here / "error").read_text() == "ok\n"
    assert int(mount.keyed("transformations/value_and_grad/loss/cost")["flops"]) > 0
    fd = os.open(here / "call.raw", os.O_RDWR)
    os.write(fd, W.tobytes() + X.tobytes())
    reply = np.frombuffer(os.read(fd, 100), np.float32)
    os.close(fd)
    np.testing.assert_allclose(reply, [np.tanh(W * X).sum(), *D_W], rtol=1e-5)


def test_what_was_used_is_listed_and_walking_uses_nothing(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    called(mount, "jacrev/grad/loss", TEXT)
    found = mount.sh("find transformations -name loss").stdout.split()
    assert found == ["transformations/jacrev/grad/loss"]
    mount.sh("find . > /dev/null; grep -r nothing transformations; true")
    assert mount.sh("find transformations -name loss").stdout.split() == found


def test_a_transformed_program_follows_its_source(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    np.testing.assert_allclose(called(mount, "grad/loss", TEXT), D_W, rtol=1e-5)
    mount.add("loss.mlir", LOSS.replace("stablehlo.tanh", "stablehlo.sine"))
    np.testing.assert_allclose(called(mount, "grad/loss", TEXT), X * np.cos(W * X), rtol=1e-5)
    os.unlink(mount.path / "programs/loss.mlir")
    assert not (mount.path / "transformations/grad/loss").exists()


def test_a_link_gives_a_transformed_program_a_name(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    mount.sh("ln -s ../transformations/grad/loss programs/d_loss")
    done = mount.sh(CALL.format("d_loss", TEXT, "named"))
    np.testing.assert_allclose(eval(done.stdout), D_W, rtol=1e-5)
    hessian = called(mount, "jacfwd/d_loss", TEXT)
    t = np.tanh(W * X)
    np.testing.assert_allclose(hessian, np.diag(-2 * X**2 * t * (1 - t**2)), atol=1e-5)


def test_help_names_every_transformation_and_option(mount: Mount) -> None:
    text = (mount.path / "transformations/help").read_text()
    for word in ("value_and_grad", "argnums", "in_axes", "axis_size", "has_aux", "hessian"):
        assert word in text
    assert "in_axes" in (mount.path / "transformations/vmap/help").read_text()


def test_what_cannot_be_transformed_says_so(mount: Mount) -> None:
    mount.add("loss.mlir", LOSS)
    assert not (mount.path / "transformations/gard/loss").exists()
    for path in ("grad:argnum=0", "grad:argnums=x", "vmap:axis_size=-1"):
        with pytest.raises(OSError) as caught:
            os.stat(mount.path / f"transformations/{path}/loss")
        assert caught.value.errno == errno.EINVAL
    assert "did you mean" in (mount.path / "error_log").read_text()
    with pytest.raises(OSError) as caught:
        called(mount, "grad/grad/loss", TEXT)


@pytest.mark.parametrize(
    ("source", "path"),
    [
        (LOSS.replace("f32", "i32").replace("0.0", "0").replace("tanh", "abs"), "grad/bad"),
        (VECTOR, "grad/bad"),
    ],
)
def test_grad_of_an_integer_or_a_vector_is_refused_with_advice(
    mount: Mount, source: str, path: str
) -> None:
    mount.add("bad.mlir", source)
    with pytest.raises(OSError) as caught:
        (mount.path / f"transformations/{path}/call").open("r+b", buffering=0)
    assert caught.value.errno == errno.EOPNOTSUPP
    told = (mount.path / f"transformations/{path}/error").read_text()
    assert told.startswith("EOPNOTSUPP: ")
    assert "grad" in told


def test_transformed_programs_outlive_the_daemon(own_mount: Mount, tmp_path: Path) -> None:
    own_mount.add("loss.mlir", LOSS)
    called(own_mount, "grad/loss", TEXT)
    own_mount.remount()
    found = own_mount.sh("find transformations -name loss").stdout.split()
    assert found == ["transformations/grad/loss"]
    assert own_mount.keyed("transformations/grad/loss/status")["state"] == "ready"
    np.testing.assert_allclose(called(own_mount, "grad/loss", TEXT), D_W, rtol=1e-5)
