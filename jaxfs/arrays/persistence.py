"""``-o keep_arrays``: arrays that are there again after a remount.

Each array is a file of the state directory: a header, which is a sealed line of JSON, and from the
next multiple of 4 KiB on the memory of the array, with its checksum in the header.  Changes are
written some seconds later and when the mount ends, so that a loop which replaces an array a
thousand times a second does not wait for a disk.  Arrays that a run had yet to make are lost, as is
everything in ``results/``.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

import msgspec
import trio

from jaxfs.arrays.array_names import split_name
from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.named import NamedArrays
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.producers import WrittenArrays, join_outputs
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import JaxfsError
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.posix.credentials import InodeAttr
from jaxfs.posix.durable_files import open_regular, remove_left_over, write_durably
from jaxfs.programs.program_records import check_attributes
from jaxfs.programs.seals import Damaged, is_sealed, seal
from jaxfs.programs.state_folders import prepare_folder
from jaxfs.types.avals import parse_aval
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Param, Signature

PAUSE_S = 5.0
PIECE_BYTES = 16 << 20
MAX_HEADER_BYTES = 64 << 20
HEADER_ALIGNMENT = 4096  # of the file's format, not of the machine: kernels differ in page sizes
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
        sha256: Of its memory; empty in files of versions before the checksums.
    """

    uid: int
    gid: int
    mode: int
    mtime_ns: int
    nbytes: int
    params: tuple[tuple[str, str], ...]
    sha256: str = ""


class ArrayStore:
    """Keeps the arrays of a mount in a directory."""

    def __init__(self, arrays: NamedArrays, directory: Path) -> None:
        self._arrays = arrays
        self._directory = directory
        self._saved: dict[str, tuple[int, InodeAttr]] = {}  # the state of each array, by name
        prepare_folder(directory, finish=False)

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
            remove_left_over(self._path(name))

    async def _save(self, array: NamedArray) -> None:
        ref, state = array.content(), _state(array)
        held = ref.producer.retain()
        try:
            pieces = join_outputs(ref.outputs())
            header = _header(array, ref)
            await trio.to_thread.run_sync(_write, self._path(array.name), header, pieces)
            self._saved[array.name] = state
        except (OSError, JaxfsError) as error:
            log.warning("%s will not be there after a remount: %s", array.path, error)
        finally:
            if held is not None:
                held.release()

    def restore(self, pool: Pool) -> None:
        """Adds the saved arrays to the mount; logs those that cannot be read and leaves them.

        A file of a version before the checksums is written again with them.
        """
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            try:
                header, memory = _read(path, pool)
                self._restore_one(path.name.removesuffix(SUFFIX), header, memory)
            except Exception as error:  # whatever is in one file, the others are served
                self._arrays.damaged += 1
                log.warning(
                    "%s is damaged and is left out: %s; write the array again, or remove the file",
                    path,
                    error,
                )

    def _restore_one(self, name: str, header: ArrayFileHeader, memory: Input) -> None:
        params = tuple(Param(name, parse_aval(aval)) for name, aval in header.params)
        attr = InodeAttr(header.uid, header.gid, header.mode, mtime_ns=header.mtime_ns)
        array = self._arrays.restore(name, attr, WrittenArrays(params, memory))
        if header.sha256:
            self._saved[name] = _state(array)

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}{SUFFIX}"


def _state(array: NamedArray) -> tuple[int, InodeAttr]:
    """Returns what differs between two moments if the array has to be saved again.

    The serial changes with the content; the times of access and change are not saved.
    """
    attr = array.attr
    return array.serial, InodeAttr(attr.uid, attr.gid, attr.mode, 0, attr.mtime_ns, 0)


def _header(array: NamedArray, ref: ArrayRef) -> ArrayFileHeader:
    """Returns the header of an array's file, without the length and the checksum.

    Args:
        array: The array.
        ref: Its content.
    """
    attr = array.attr
    params = tuple((param.name, str(param.aval)) for param in ref.params)
    return ArrayFileHeader(attr.uid, attr.gid, attr.mode, attr.mtime_ns, 0, params)


def _write(path: Path, header: ArrayFileHeader, pieces: list[bytes | memoryview]) -> None:
    """Replaces the file in one step: after a crash it holds the old array or the new one."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    header = msgspec.structs.replace(
        header, nbytes=sum(map(len, pieces)), sha256=digest.hexdigest()
    )
    line = seal(f"arrays/{path.name}", msgspec.json.encode(header)) + b"\n"
    write_durably(path, [line, bytes(-len(line) % HEADER_ALIGNMENT), *pieces])


def _read(path: Path, pool: Pool) -> tuple[ArrayFileHeader, Input]:
    """Returns the header and the memory of an array's file.

    Raises:
        OSError: The file cannot be read, or there is no shared memory for it.
        ValueError: The file is too short.
        Damaged: It is not what was written.
        JaxfsError: Its name, owner or types are none.
        msgspec.MsgspecError: The header is not one.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        line = file.readline(MAX_HEADER_BYTES)
        is_sealed(f"arrays/{path.name}", line.rstrip(b"\n"))
        header = msgspec.json.decode(line, type=ArrayFileHeader)
        _check(path, header)
        start = -(-len(line) // HEADER_ALIGNMENT) * HEADER_ALIGNMENT
        if os.fstat(file.fileno()).st_size < start + header.nbytes:
            raise ValueError("it is cut short")
        file.seek(start)
        if header.nbytes <= INLINE_BYTES:
            data = file.read(header.nbytes)
            _compare(header, hashlib.sha256(data).hexdigest())
            return header, data
        segment, start = pool.take_range(header.nbytes)
        try:
            _compare(header, _fill(segment, start, file, header.nbytes))
        except BaseException:
            segment.release()
            raise
        return header, Range(segment, start, header.nbytes)


def _check(path: Path, header: ArrayFileHeader) -> None:
    """Checks that an array can be made from a header.

    Raises:
        Damaged: Its length does not follow from its types.
        JaxfsError: Its name, owner or types are none.
    """
    name, format_name = split_name(path.name.removesuffix(SUFFIX))
    avals = [parse_aval(aval) for _, aval in header.params]
    outputs = Signature((), tuple(Param("", aval) for aval in avals))
    if format_name or not name or output_offsets(outputs)[1] != header.nbytes:
        raise Damaged(f"{header.nbytes} bytes are not the length of its arrays")
    check_attributes(header.uid, header.gid, header.mode, header.mtime_ns)


def _compare(header: ArrayFileHeader, digest: str) -> None:
    """Compares a checksum with that of a header that has one.

    Raises:
        Damaged: They differ.
    """
    if header.sha256 not in ("", digest):
        raise Damaged("its checksum differs")


def _fill(segment: Segment, start: int, file: BinaryIO, nbytes: int) -> str:
    """Copies the rest of a file to an offset of shared memory, and returns the SHA-256 of it.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is too short.
    """
    offset, digest = 0, hashlib.sha256()
    while offset < nbytes:
        piece = file.read(min(PIECE_BYTES, nbytes - offset))
        if not piece:
            raise ValueError("it is cut short")
        digest.update(piece)
        segment.write(start + offset, piece)
        offset += len(piece)
    return digest.hexdigest()
