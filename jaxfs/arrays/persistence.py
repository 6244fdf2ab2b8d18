"""``-o keep_arrays``: arrays that are there again after a remount.

Each array is a file of the state directory: a header, which is a line of JSON, and from the next
page on the memory of the array.  Changes are written some seconds later and when the mount ends,
so that a loop which replaces an array a thousand times a second does not wait for a disk.  Arrays
that a run had yet to make are lost, as is everything in ``results/``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import BinaryIO

import msgspec
import trio

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.named import NamedArray, NamedArrays
from jaxfs.arrays.producers import WrittenArrays, join_outputs
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import JaxfsError
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import PAGE_BYTES, Pool, Segment
from jaxfs.posix.credentials import InodeAttr
from jaxfs.types.avals import parse_aval
from jaxfs.types.signature import Param

PAUSE_S = 5.0
PIECE_BYTES = 16 << 20
SUFFIX = ".array"
log = logging.getLogger(__name__)


class ArrayFileHeader(msgspec.Struct, frozen=True):
    """The header of an array's file.

    Attributes:
        uid: The user who owns the array.
        gid: The group of the array.
        mode: Its permission bits.
        mtime_ns: When it was written, since the epoch.
        nbytes: The length of its memory.
        params: The name and the type of each array, in order.
    """

    uid: int
    gid: int
    mode: int
    mtime_ns: int
    nbytes: int
    params: tuple[tuple[str, str], ...]


class ArrayStore:
    """Keeps the arrays of a mount in a directory."""

    def __init__(self, arrays: NamedArrays, directory: Path) -> None:
        self._arrays = arrays
        self._directory = directory
        self._saved: dict[str, tuple[int, InodeAttr]] = {}  # the state of each array, by name
        directory.mkdir(mode=0o700, exist_ok=True)

    async def run(self) -> None:
        """Saves changes every few seconds, until it is cancelled.

        A write to disk for each change would slow down programs that replace an array often.
        """
        while True:
            await trio.sleep(PAUSE_S)
            await self.save()

    async def save(self) -> None:
        """Writes the arrays that changed, and deletes the files of those that were removed."""
        for array in self._arrays:
            if array.state == "ready" and self._saved.get(array.name) != _state(array):
                await self._save(array)
        for name in set(self._saved) - {array.name for array in self._arrays}:
            del self._saved[name]
            self._path(name).unlink(missing_ok=True)

    async def _save(self, array: NamedArray) -> None:
        ref, state = array.content(), _state(array)
        held = ref.producer.retain()
        try:
            pieces = join_outputs(ref.outputs())
            header = _header(array, ref, sum(map(len, pieces)))
            await trio.to_thread.run_sync(_write, self._path(array.name), header, pieces)
            self._saved[array.name] = state
        except (OSError, JaxfsError) as error:
            log.warning("%s will not be there after a remount: %s", array.path, error)
        finally:
            if held is not None:
                held.release()

    def restore(self, pool: Pool) -> None:
        """Adds the saved arrays to the mount; logs those that cannot be read and leaves them."""
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                header, memory = _read(path, pool)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.warning("%s cannot be read: %s", path, error)
                continue
            params = tuple(Param(name, parse_aval(aval)) for name, aval in header.params)
            attr = InodeAttr(header.uid, header.gid, header.mode, mtime_ns=header.mtime_ns)
            producer = WrittenArrays(params, memory)
            array = self._arrays.restore(path.name.removesuffix(SUFFIX), attr, producer)
            self._saved[array.name] = _state(array)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"


def _state(array: NamedArray) -> tuple[int, InodeAttr]:
    """Returns what differs between two moments if the array has to be saved again.

    The serial changes with the content; the times of access and change are not saved.
    """
    attr = array.attr
    return array.serial, InodeAttr(attr.uid, attr.gid, attr.mode, 0, attr.mtime_ns, 0)


def _header(array: NamedArray, ref: ArrayRef, nbytes: int) -> ArrayFileHeader:
    """Returns the header of an array's file.

    Args:
        array: The array.
        ref: Its content.
        nbytes: The length of the arrays that follow the header, with the padding between them.
    """
    attr = array.attr
    params = tuple((param.name, str(param.aval)) for param in ref.params)
    return ArrayFileHeader(attr.uid, attr.gid, attr.mode, attr.mtime_ns, nbytes, params)


def _write(path: Path, header: ArrayFileHeader, pieces: list[bytes | memoryview]) -> None:
    """Replaces the file in one step: after a crash it holds the old array or the new one."""
    scratch = path.with_name(f".new-{path.name}")
    line = msgspec.json.encode(header) + b"\n"
    try:
        with open(scratch, "wb") as file:
            file.write(line + bytes(-len(line) % PAGE_BYTES))
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _read(path: Path, pool: Pool) -> tuple[ArrayFileHeader, Input]:
    """Returns the header and the memory of an array's file.

    Raises:
        OSError: The file cannot be read, or there is no shared memory for it.
        ValueError: The file is too short.
        msgspec.MsgspecError: The header is not one.
    """
    with open(path, "rb") as file:
        line = file.readline()
        header = msgspec.json.decode(line, type=ArrayFileHeader)
        file.seek(-(-len(line) // PAGE_BYTES) * PAGE_BYTES)
        if header.nbytes <= INLINE_BYTES:
            data = file.read(header.nbytes)
            if len(data) != header.nbytes:
                raise ValueError("it is cut short")
            return header, data
        segment, start = pool.take_range(header.nbytes)
        try:
            _fill(segment, start, file, header.nbytes)
        except BaseException:
            segment.release()
            raise
        return header, Range(segment, start, header.nbytes)


def _fill(segment: Segment, start: int, file: BinaryIO, nbytes: int) -> None:
    """Copies the rest of a file into shared memory, to the offset ``start``.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is too short.
    """
    offset = 0
    while offset < nbytes:
        piece = file.read(min(PIECE_BYTES, nbytes - offset))
        if not piece:
            raise ValueError("it is cut short")
        segment.write(start + offset, piece)
        offset += len(piece)
