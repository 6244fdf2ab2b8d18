"""Replies of a process that ran a user's code are checked before they are used."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import trio

from jaxfs.compiler.client.replies import checked, crash, read_file
from jaxfs.compiler.job_protocol import Ended, Reply, UntypedProgram
from jaxfs.errors import Invalid, RunFailed
from jaxfs.ipc.channel import AsyncChannel, Closed, pair, send_fds
from jaxfs.types.partial_avals import KnownAval, PartialAval
from tests.compiler.conftest import SAXPY, BlockingTracer, compile_cpu, memory_file


def _disk_file() -> int:
    return os.open(__file__, os.O_RDONLY)


def _pipe() -> int:
    reader, writer = os.pipe()
    os.close(writer)
    return reader


def _socket() -> int:
    left, right = socket.socketpair()
    right.close()
    return left.detach()


def _holes() -> int:
    fd = os.memfd_create("holes")
    os.ftruncate(fd, 1 << 30)
    return fd


@pytest.mark.parametrize("make", [_disk_file, _pipe, _socket, _holes])
def test_what_is_no_whole_file_in_memory_is_not_read(make: Callable[[], int]) -> None:
    fd = make()
    try:
        with pytest.raises(RunFailed, match="the tracer handed back"):
            read_file(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    "known",
    [
        (),
        (PartialAval("f33", ("?",)),),
        (PartialAval("f32", (-1,)),),
        (PartialAval("f32", ("?",) * 65),),
        (PartialAval("f32", ("b\nin 1 y",)),),
        (PartialAval("f32", ("b" * 201,)),),
    ],
)
def test_types_that_cannot_be_are_not_believed(known: tuple[KnownAval, ...]) -> None:
    with pytest.raises(RunFailed, match="an impossible answer"):
        checked(UntypedProgram("pickle", ("x",), "", known), [])
    sane = UntypedProgram("pickle", ("x",), "", (PartialAval("f32", ("2*b", 3)),))
    assert checked(sane, []) is sane


def test_record_of_an_older_version_without_types_is_not_read() -> None:
    made = msgspec.json.encode(UntypedProgram("pickle", ("x",), "", (None,)))
    assert msgspec.json.decode(made, type=UntypedProgram).inputs == (None,)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(made.replace(b',"inputs":[null]', b""), type=UntypedProgram)


def test_file_that_grows_meanwhile_is_read_to_where_it_ended() -> None:
    stop = threading.Event()
    with memory_file(b"x" * 1000) as fd:

        def grow() -> None:
            at = 1000
            while not stop.is_set() and at < 64 << 20:
                at += os.pwrite(fd, b"y" * 4096, at)

        thread = threading.Thread(target=grow)
        thread.start()
        sizes = [(os.fstat(fd).st_size, len(read_file(fd)), os.fstat(fd).st_size) for _ in "12345"]
        stop.set()
        thread.join()
    assert all(before <= read <= after for before, read, after in sizes)


def test_forbidden_call_is_reported() -> None:
    error = crash(-31, "")
    assert isinstance(error, Invalid)
    assert "forbidden system call" in error.reason


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = pair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("nonsense", [b"garbage", b"", msgspec.msgpack.encode(Ended(1, 0))])
def test_nonsense_leaves_no_descriptors_behind(
    ends: tuple[socket.socket, socket.socket], nonsense: bytes
) -> None:
    async def receive() -> None:
        channel: AsyncChannel[Reply] = AsyncChannel(ends[0], Reply)
        with pytest.raises((msgspec.MsgspecError, Closed)):
            await channel.receive()

    send_fds(ends[1], nonsense, [0] * 16)
    before = len(list(Path("/proc/self/fd").iterdir()))
    trio.run(receive)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_executable_is_not_made_of_an_artifact_other_than_promised(tracer: BlockingTracer) -> None:
    """It would read as many bytes as its module says, of others' memory too."""
    traced, artifact, _ = tracer.trace(SAXPY)
    _, larger, _ = tracer.trace(SAXPY.replace("16x", "4096x"))
    assert tracer.run(compile_cpu, artifact, traced.signature)
    with pytest.raises(Invalid, match="do not agree"):
        tracer.run(compile_cpu, larger, traced.signature)
