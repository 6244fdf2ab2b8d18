"""``-o keep_arrays``: arrays that are there again after a remount.

Each array is a file of the state directory: a line of JSON that tells what it is, then its memory,
from the next page on.  What changed is written some seconds later, and when the mount ends; a loop
that replaces an array a thousand times a second is not slowed down by that.  Results that were not
there when the daemon ended are lost, as are those of ``results/``.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
import trio

from jaxfs.arrays.named import NamedArray, NamedArrays
from jaxfs.arrays.producers import ArrayRef, WrittenArrays, laid_out_bytes
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import JaxfsError
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import PAGE_BYTES, Pool
from jaxfs.posix.credentials import InodeAttr
from jaxfs.types.avals import parse_aval
from jaxfs.types.signature import Param

PAUSE_S = 5.0
PIECE_BYTES = 16 << 20
SUFFIX = ".array"
log = logging.getLogger(__name__)


class ArrayFileHeader(msgspec.Struct, frozen=True):
    """What a file of an array begins with."""

    uid: int
    gid: int
    mode: int
    mtime_ns: int
    nbytes: int
    params: tuple[tuple[str, str], ...]  # name and type of each leaf


class ArrayStore:
    """Keeps the arrays of a mount in a directory."""

    def __init__(self, arrays: NamedArrays, place: Path) -> None:
        self._arrays = arrays
        self._place = place
        self._kept: dict[
            str, tuple[int, InodeAttr]
        ] = {}  # name -> serial and owner as it was written
        place.mkdir(mode=0o700, exist_ok=True)

    async def run(self) -> None:
        """Write what changed, again and again."""
        while True:
            await trio.sleep(PAUSE_S)
            await self.save()

    async def save(self) -> None:
        """Write what changed since the last time; forget what is gone."""
        for array in self._arrays:
            if array.state == "ready" and self._kept.get(array.name) != _mark(array):
                await self._save(array)
        for name in set(self._kept) - {array.name for array in self._arrays}:
            del self._kept[name]
            self._path(name).unlink(missing_ok=True)

    async def _save(self, array: NamedArray) -> None:
        part, mark = array.content(), _mark(array)
        held = part.producer.retain()
        try:
            header, memory = _header(array, part), laid_out_bytes(part.outputs())
            await trio.to_thread.run_sync(_write, self._path(array.name), header, memory)
            self._kept[array.name] = mark
        except (OSError, JaxfsError) as error:
            log.warning("%s will not be there after a remount: %s", array.path, error)
        finally:
            if held is not None:
                held.release()

    def restore(self, pool: Pool) -> None:
        """Bring the arrays of before back; what cannot be read is told in the log and left."""
        for path in sorted(self._place.glob(f"*{SUFFIX}")):
            try:
                header, memory = _read(path, pool)
            except (OSError, ValueError, msgspec.MsgspecError) as error:
                log.warning("%s cannot be read: %s", path, error)
                continue
            params = tuple(Param(name, parse_aval(aval)) for name, aval in header.params)
            meta = InodeAttr(header.uid, header.gid, header.mode, mtime_ns=header.mtime_ns)
            array = self._arrays.keep(
                path.name.removesuffix(SUFFIX), meta, WrittenArrays(params, memory)
            )
            self._kept[array.name] = _mark(array)

    def _path(self, name: str) -> Path:
        return self._place / f"{name}{SUFFIX}"


def _mark(array: NamedArray) -> tuple[int, InodeAttr]:
    """What has to be as it was, or else it is written again."""
    meta = array.attr
    return array.serial, InodeAttr(meta.uid, meta.gid, meta.mode, 0, meta.mtime_ns, 0)


def _header(array: NamedArray, part: ArrayRef) -> ArrayFileHeader:
    meta = array.attr
    params = tuple((param.name, str(param.aval)) for param in part.params)
    nbytes = sum(len(piece) for piece in laid_out_bytes(part.outputs()))
    return ArrayFileHeader(meta.uid, meta.gid, meta.mode, meta.mtime_ns, nbytes, params)


def _write(path: Path, header: ArrayFileHeader, pieces: list[bytes | memoryview]) -> None:
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
    with open(path, "rb") as file:
        line = file.readline()
        header = msgspec.json.decode(line, type=ArrayFileHeader)
        file.seek(-(-len(line) // PAGE_BYTES) * PAGE_BYTES)
        if header.nbytes <= INLINE_BYTES:
            return header, _exactly(file.read(header.nbytes), header.nbytes)
        segment, offset = pool.take(header.nbytes), 0
        while offset < header.nbytes:
            piece = file.read(min(PIECE_BYTES, header.nbytes - offset))
            if not piece:
                segment.release()
                raise ValueError("it is cut short")
            segment.write(offset, piece)
            offset += len(piece)
        return header, Range(segment, 0, header.nbytes)


def _exactly(data: bytes, nbytes: int) -> bytes:
    if len(data) != nbytes:
        raise ValueError("it is cut short")
    return data
