"""``inputs/<k>``: what calls take without naming it."""

from __future__ import annotations

import errno
import io
import os

import numpy as np
import pytest
from safetensors.numpy import save

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import made

PREDICT = """
def predict(params, x):
    return x @ params["w"] + params["b"]
params = {"b": np.zeros(3, np.float32), "w": np.ones((2, 3), np.float32)}
"""


def npy(*arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    for array in arrays:
        np.save(stream, array)
    return stream.getvalue()


@pytest.fixture
def bound(mount: Mount) -> Mount:
    """saxpy, 2 x + y, with y bound to arrays/y."""
    mount.add("saxpy.mlir", SAXPY)
    (mount.path / "arrays/y").write_text("[0.5, 1, 2, 3]\n")
    os.symlink("../../../arrays/y", mount.path / "programs/saxpy/inputs/1")
    return mount


def test_bound_input_need_not_be_written(bound: Mount) -> None:
    (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    assert (bound.path / "results/s.json").read_text() == "[2.5, 3.0, 4.0, 5.0]\n"
    (bound.path / "programs/saxpy/calls/n").write_bytes(npy(np.ones(4, np.float32)))
    assert (bound.path / "results/n.json").read_text() == "[2.5, 3.0, 4.0, 5.0]\n"


def test_binding_leads_to_what_has_the_name_at_the_call(bound: Mount) -> None:
    (bound.path / "arrays/y").write_text("[1.0, 1, 1, 1]\n")
    (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    assert (bound.path / "results/s.json").read_text() == "[3.0, 3.0, 3.0, 3.0]\n"


def test_conversations_take_bound_inputs(bound: Mount) -> None:
    out = bound.sh(
        "exec 3<>programs/saxpy/call; echo '[1,1,1,1]' >&3; echo '[0,0,0,0]' >&3; cat <&3"
    ).stdout
    assert out == "[2.5, 3.0, 4.0, 5.0]\n[0.5, 1.0, 2.0, 3.0]\n"
    fd = os.open(bound.path / "programs/saxpy/call.raw", os.O_RDWR)
    os.write(fd, np.ones(4, np.float32).tobytes())
    assert np.frombuffer(os.read(fd, 100), np.float32).tolist() == [2.5, 3, 4, 5]
    os.close(fd)


def test_removed_binding_is_written_again(bound: Mount) -> None:
    os.unlink(bound.path / "programs/saxpy/inputs/1")
    assert os.listdir(bound.path / "programs/saxpy/inputs") == []
    (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1] [0,0,0,0]\n")
    assert (bound.path / "results/s.json").read_text() == "[2.0, 2.0, 2.0, 2.0]\n"


def test_array_copied_to_inputs_is_bound(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    for name in ("x", "1"):  # by name, by number
        np.save(mount.path / "arrays/copy.npy", np.full(4, 3, np.float32))
        mount.sh(f"cp arrays/copy programs/saxpy/inputs/{name}")
    assert sorted(os.listdir(mount.path / "programs/saxpy/inputs")) == ["1", "x"]
    assert np.load(mount.path / "programs/saxpy/inputs/x").tolist() == [3] * 4
    (mount.path / "programs/saxpy/calls/s").write_text("\n")
    assert (mount.path / "results/s.json").read_text() == "[9.0, 9.0, 9.0, 9.0]\n"


def test_binding_of_the_wrong_type_fails_at_submission_and_names_both(bound: Mount) -> None:
    (bound.path / "arrays/y").write_text("[1, 2]\n")
    with pytest.raises(OSError, match="Invalid") as caught:
        (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    assert caught.value.errno == errno.EINVAL
    reason = (bound.path / "results/s.error").read_text()
    assert "input 1 y: expected f32[4], got i32[2] of arrays/y" in reason


def test_binding_that_leads_nowhere_fails_at_submission(bound: Mount) -> None:
    os.unlink(bound.path / "arrays/y")
    with pytest.raises(OSError, match="Invalid"):
        (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    reason = (bound.path / "results/s.error").read_text()
    assert "programs/saxpy/inputs/1: there is no arrays/y" in reason


def test_binding_to_no_input_is_refused(bound: Mount) -> None:
    os.symlink("../../../arrays/y", bound.path / "programs/saxpy/inputs/zeta")
    with pytest.raises(OSError, match="Invalid"):
        (bound.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    assert "zeta" in (bound.path / "results/s.error").read_text()


def test_pytree_is_bound_by_its_key_path(mount: Mount) -> None:
    mount.add("predict.pkl", made(PREDICT, "(predict, params, np.ones((1, 2), np.float32))"))
    weights = {"b": np.ones(3, np.float32), "w": np.full((2, 3), 2, np.float32)}
    (mount.path / "arrays/p").write_bytes(save(weights))
    os.symlink("../../../arrays/p", mount.path / "programs/predict/inputs/params")
    (mount.path / "programs/predict/calls/s").write_text("[[1, 2]]\n")
    assert (mount.path / "results/s.json").read_text() == "[[7.0, 7.0, 7.0]]\n"
    (mount.path / "programs/predict/calls/t").write_text("[[0, 0]]\n")
    assert (mount.path / "results/t.json").read_text() == "[[1.0, 1.0, 1.0]]\n"


def test_function_without_types_takes_those_of_what_is_bound(mount: Mount) -> None:
    mount.add("scale.pkl", made("def scale(x, factor): return x * factor", "scale"))
    (mount.path / "arrays/f").write_text("2.5\n")
    os.symlink("../../../arrays/f", mount.path / "programs/scale/inputs/factor")
    (mount.path / "programs/scale/calls/s").write_text("[1.0, 2.0]\n")
    assert (mount.path / "results/s.json").read_text() == "[2.5, 5.0]\n"


def test_transformed_programs_have_inputs_of_their_own(bound: Mount) -> None:
    inputs = bound.path / "transformations/vmap/saxpy/inputs"
    assert os.listdir(inputs) == []
    (bound.path / "arrays/z").write_text("[[1.0, 1, 1, 1], [2, 2, 2, 2]]\n")
    os.symlink("../../../../arrays/z", inputs / "1")
    (bound.path / "transformations/vmap/saxpy/calls/s").write_text("[[0.0,0,0,0],[0,0,0,0]]\n")
    found = (bound.path / "results/s.json").read_text()
    assert found == "[[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0]]\n"
