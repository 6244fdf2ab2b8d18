"""What the machine's clients do that the test process cannot do itself."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np

# Forks a child for each line, which writes to a file and is killed before it closes it.  A process
# of its own, because a fork of the test's process would close the test's open files, and that
# commits them.
_VICTIMS = """
import os, signal, sys
for line in sys.stdin:
    path, data = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(fd, bytes.fromhex(data))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    print("killed", flush=True)
"""


class Victims:
    """Processes that are killed in the middle of a write."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _VICTIMS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def write_and_die(self, path: Path, data: bytes) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\t{data.hex()}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "killed\n"

    def close(self) -> None:
        self._process.communicate()


def npy(*arrays: np.ndarray) -> bytes:
    """Arrays as a stream of .npy files."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


def text(*arrays: np.ndarray) -> bytes:
    """Arrays as JSON lists; without a newline, so that no shorter text means the same."""
    return " ".join(str(array.tolist()) for array in arrays).encode()


def raw(*arrays: np.ndarray) -> bytes:
    """Arrays as they stand in memory."""
    return b"".join(array.tobytes() for array in arrays)


FORMATS = {"npy": (npy, ""), "text": (text, ""), "raw": (raw, ".raw")}  # encoder, suffix of calls
VIEWS = {  # what results/<id><view> shows
    "": npy,
    ".npy": npy,
    ".0": npy,
    ".result": npy,
    ".raw": raw,
    ".json": lambda array: text(array) + b"\n",
}
