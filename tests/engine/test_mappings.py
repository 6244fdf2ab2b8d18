"""The front's memory in the worker's address space."""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from jaxfs.engine.worker import mappings
from jaxfs.engine.worker.mappings import PIECE_BYTES, Mappings
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.testing import eventually

LARGE_BYTES = 4 * PIECE_BYTES
SEGMENT = 7


def attached(name: str, nbytes: int = LARGE_BYTES) -> Mappings:
    fd = os.memfd_create(name)
    os.ftruncate(fd, nbytes)
    found = Mappings()
    found.attach(SEGMENT, nbytes, fd)
    return found


def output_of(found: Mappings, nbytes: int = LARGE_BYTES) -> np.ndarray:
    return found.slot(SegmentRef(SEGMENT, 0, nbytes), 0, np.dtype("u1"), (nbytes,))


def is_mapped(name: str) -> bool:
    return f"/memfd:{name}" in Path("/proc/self/maps").read_text()


def is_open(name: str) -> bool:
    places = set[str]()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of other threads
            places.add(str(fd.readlink()))
    return any(place.startswith(f"/memfd:{name} ") for place in places)


def test_large_memory_is_given_back_outside_the_thread_that_reads_messages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate, by = threading.Event(), list[int]()
    unmap = mappings._unmap

    def held(last: list[mmap.mmap]) -> None:
        by.append(threading.get_ident())
        gate.wait(60)
        unmap(last)

    monkeypatch.setattr(mappings, "_unmap", held)
    found = attached("large")
    output_of(found)[:] = 1
    found.detach(SEGMENT)
    eventually(lambda: bool(by))
    assert by != [threading.get_ident()]
    gate.set()
    eventually(lambda: not is_mapped("large"))


def test_memory_is_mapped_by_the_run_that_needs_it() -> None:
    """Not by the thread that reads messages, which would wait for page faults of others."""
    found = attached("lazy")
    assert not is_mapped("lazy")
    output = output_of(found)
    assert is_mapped("lazy")
    output[0] = 5
    assert output_of(found)[0] == 5


def test_memory_that_no_run_has_used_is_given_back() -> None:
    found = attached("unused")
    assert is_open("unused")
    found.detach(SEGMENT)
    assert not is_open("unused")


def test_small_memory_is_given_back_at_once() -> None:
    found = attached("small", 4096)
    output_of(found, 4096)[:] = 1
    assert is_mapped("small")
    found.detach(SEGMENT)
    assert not is_mapped("small")


def test_no_memory_is_taken_from_a_run_that_goes_on() -> None:
    found = attached("used")
    output = output_of(found)
    output[:] = 3
    before = threading.active_count()
    found.detach(SEGMENT)
    eventually(lambda: threading.active_count() <= before)
    assert is_mapped("used")
    output[-1] = 4
    assert (int(output[0]), int(output[-1])) == (3, 4)
    del output
    eventually(lambda: not is_mapped("used"))
