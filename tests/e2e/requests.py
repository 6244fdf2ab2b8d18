"""What users do with a mount, and what of it is refused."""

from __future__ import annotations

import io
import subprocess

import numpy as np
import pytest

from jaxfs.testing import eventually
from tests.conftest import Mount

X = np.array([1, 2, 3, 4], np.float32)
Y = np.array([10, 20, 30, 40], np.float32)
Z = 2 * X + Y
BOUND_S = 30  # far over what it takes: a test that waits longer hangs


def npy(*arrays: np.ndarray) -> bytes:
    """Arrays as a stream of .npy files."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def numbers(mount: Mount, name: str) -> list[float]:
    found: list[float] = np.atleast_1d(np.load(mount.path / name)).tolist()
    return found


def submit(mount: Mount, name: str, data: bytes, program: str = "saxpy") -> None:
    (mount.path / f"programs/{program}/calls/{name}").write_bytes(data)


def refuses_call(mount: Mount, name: str, data: bytes, program: str = "saxpy") -> int:
    """The errno that submitting a call ends with."""
    with pytest.raises(OSError) as caught:
        submit(mount, name, data, program)
    assert caught.value.errno is not None
    return caught.value.errno


def refuses_program(mount: Mount, name: str, source: str | bytes) -> int:
    """The errno that writing a program ends with."""
    with pytest.raises(OSError) as caught:
        mount.add(name, source)
    assert caught.value.errno is not None
    return caught.value.errno


def start(mount: Mount, name: str, turns: int) -> None:
    """Submits a call that computes for so many turns."""
    (mount.path / f"programs/spin/calls/{name}").write_text(f"{turns}\n")


def reader(mount: Mount, name: str) -> subprocess.Popen[bytes]:
    """A cat that is surely waiting in open(2)."""
    process = subprocess.Popen(
        ["cat", mount.path / "results" / name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    # the other one is the open of `metrics`
    eventually(lambda: mount.keyed("metrics")["jaxfs_waiters"] == "2", message="cat does not wait")
    return process
