"""`calls/<id>`: a call is submitted by closing the file."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.requests import (
    X,
    Y,
    Z,
    npy,
    refuses_call,
    submit,
)


def test_npy_in_npy_out(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_cat_of_two_npy_files_is_a_call(saxpy: Mount) -> None:
    np.save(saxpy.path.parent / "x.npy", X)
    np.save(saxpy.path.parent / "y.npy", Y)
    saxpy.sh("cat ../x.npy ../y.npy > programs/saxpy/calls/job1; cat results/job1 > ../out.npy")
    np.testing.assert_array_equal(np.load(saxpy.path.parent / "out.npy"), Z)


def test_text_in_text_out(saxpy: Mount) -> None:
    saxpy.sh("echo '[1,2,3,4] [10,20,30,40]' > programs/saxpy/calls/job1")
    assert saxpy.sh("cat results/job1.txt").stdout == "12.0 24.0 36.0 48.0\n"
    assert json.loads(saxpy.sh("cat results/job1.json").stdout) == Z.tolist()


def test_raw_in_raw_out(saxpy: Mount) -> None:
    submit(saxpy, "job1.raw", X.tobytes() + Y.tobytes())
    assert (saxpy.path / "results/job1.raw").read_bytes() == Z.tobytes()


def test_numpy_saves_into_a_call_and_loads_from_a_result(saxpy: Mount) -> None:
    with open(saxpy.path / "programs/saxpy/calls/job1", "wb") as file:
        np.save(file, X)
        np.save(file, Y)
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_id_is_used_once(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    assert refuses_call(saxpy, "job1", npy(X, Y)) == errno.EEXIST
    os.unlink(saxpy.path / "results/job1")
    submit(saxpy, "job1", npy(Y, X))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), 2 * Y + X)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(X.astype(np.int32), Y), ("f32[4]", "i32[4]", "x")),
        (npy(X[:3], Y), ("f32[4]", "f32[3]", "x")),
        (npy(X), ("2", "1")),
        (npy(X, Y, X), ("2",)),
        (npy(X, Y)[:-4], ("y",)),
        (npy(X, Y) + b"rest", ("2",)),
        (b"[1,2,3] [1,2,3,4]\n", ("f32[4]", "x")),
        (b"[1,2,3,4]\n", ("2", "1")),
        (b'[1,2,3,4] [1,2,3,"a"]\n', ("y",)),
        (b"[1,2,3,4] results/none\n", ("results/none",)),
    ],
)
def test_wrong_input_is_einval_with_the_reason_in_words(
    saxpy: Mount, data: bytes, words: tuple[str, ...]
) -> None:
    assert refuses_call(saxpy, "job1", data) == errno.EINVAL
    reason = (saxpy.path / "results/job1.error").read_text()
    assert reason.startswith("EINVAL: ")
    for word in words:
        assert word in reason
    assert saxpy.keyed("results/job1.status")["state"] == "failed"


def test_wrong_number_of_raw_bytes_names_both_numbers(saxpy: Mount) -> None:
    assert refuses_call(saxpy, "job1.raw", bytes(31)) == errno.EINVAL
    reason = (saxpy.path / "results/job1.error").read_text()
    assert "31" in reason
    assert "32" in reason


def test_refused_call_may_be_written_again(saxpy: Mount) -> None:
    refuses_call(saxpy, "job1", b"[1]\n")
    submit(saxpy, "job1", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_large_arrays_pass_whole(mount: Mount) -> None:
    mount.add("big.mlir", SAXPY.replace("4xf32", "4194304xf32"))
    rng = np.random.default_rng(0)
    x, y = (rng.random(4 << 20, np.float32) for _ in range(2))
    submit(mount, "big", npy(x, y), "big")
    np.testing.assert_allclose(np.load(mount.path / "results/big"), 2 * x + y, rtol=1e-6)
    fd = os.open(mount.path / "programs/big/call.raw", os.O_RDWR)
    sent = memoryview(x.tobytes() + y.tobytes())
    while sent:
        sent = sent[os.write(fd, sent) :]
    got = b""
    while len(got) < x.nbytes:
        got += os.read(fd, 1 << 24)
    os.close(fd)
    np.testing.assert_allclose(np.frombuffer(got, np.float32), 2 * x + y, rtol=1e-6)


def test_calls_that_are_not_submitted_have_no_result(saxpy: Mount) -> None:
    saxpy.sh(": > programs/saxpy/calls/later")
    assert os.listdir(saxpy.path / "results") == []
    assert saxpy.keyed("programs/saxpy/calls/later")["state"] == "writing"
    submit(saxpy, "later", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/later"), Z)
