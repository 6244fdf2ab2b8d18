"""``arrays/``: arrays that stay, by name."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import attrs
import trio

from jaxfs.arrays.inputs import THREAD_BYTES, FindArray, Request
from jaxfs.arrays.producers import ArrayRef, WrittenArrays, by_key_path
from jaxfs.arrays.quotas import Quotas
from jaxfs.arrays.run_inputs import release_inputs
from jaxfs.arrays.views import ViewTable
from jaxfs.codecs import formats
from jaxfs.codecs.infer import InferredParam
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import Cancelled, Invalid, JaxfsError, NameTaken, from_os_error
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.programs import names
from jaxfs.types.memory_layout import ALIGNMENT, output_offsets
from jaxfs.types.signature import Param, Signature

MAX_STRIDE_BYTES = 1 << 62


@attrs.define(eq=False)
class NamedArray(OwnedNodeObject):
    """A name for arrays: one, or a pytree's leaves.

    ``part`` is None until something was written.  ``serial`` changes with the content, so that the
    kernel keeps nothing of the old one.
    """

    name: str
    attr: InodeAttr
    format: str = ""  # that the first write was announced in
    place: str = "arrays"  # the directory it stands in
    ref: ArrayRef | None = None
    error: JaxfsError | None = None
    is_removed: bool = False
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    owner_id: int = attrs.field(factory=lambda: next(SERIALS))  # of all its inodes; never changes

    @property
    def path(self) -> str:
        return f"{self.place}/{self.name}"

    @property
    def result_mode(self) -> int:
        """The permission bits of what is read of it."""
        return self.attr.mode & 0o444

    @property
    def state(self) -> str:
        """empty | pending | ready | failed"""
        if self.ref is None:
            return "failed" if self.error is not None else "empty"
        if not self.ref.producer.has_ended:
            return "pending"
        return "failed" if self.ref.producer.error is not None else "ready"

    def point_to(self, part: ArrayRef | None) -> None:
        """Stand for other arrays from now on."""
        old, self.ref = self.ref, None
        if part is not None:
            part.producer.add_link()
            self.ref = ArrayRef(part.producer, self.path, part.indices, part.prefix)
            self.error = None
        if old is not None:
            old.producer.drop_link()
            self.serial = next(SERIALS)

    def remove(self) -> None:
        """Its name is gone, or another's; what is still being written to it comes too late."""
        self.is_removed = True
        self.point_to(None)

    def content(self) -> ArrayRef:
        """What it stands for.  Raises Invalid where nothing was written to it."""
        if self.ref is None:
            reason = self.error.reason if self.error is not None else "nothing was written to it"
            raise Invalid(f"{self.path} is empty: {reason}")
        return self.ref

    @property
    def nlink(self) -> int:
        """How many names its content has."""
        return self.ref.producer.link_count if self.ref is not None else 1

    def mode_of(self, spec: NodeMode) -> int:
        """Returns its own mode, as far as the file allows."""
        return self.attr.mode & spec.mode

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes its own mode, whichever of its files is meant."""
        del spec
        self.attr.mode = mode & 0o666


class NamedArrays:
    """All arrays of a mount.  Their memory is charged to who wrote or called for it.

    Attributes:
        views: The views of these arrays and of the mount's results.
    """

    def __init__(self, quotas: Quotas) -> None:
        self.views = ViewTable()
        self._quotas = quotas
        self._arrays: dict[str, NamedArray] = {}

    def __iter__(self) -> Iterator[NamedArray]:
        return iter(tuple(self._arrays.values()))

    def get(self, name: str) -> NamedArray | None:
        """The array of this name."""
        return self._arrays.get(name)

    def create(self, filename: str, meta: InodeAttr) -> NamedArray:
        """``w``, or ``w.safetensors`` for what comes in that format.  Raises Invalid, NameTaken."""
        name, form = split_name(filename)
        if name in self._arrays:
            raise NameTaken(f"arrays/{name} is there already; remove it, or write to arrays/{name}")
        array = self._arrays[name] = NamedArray(name, meta, form)
        return array

    def put(self, name: str, part: ArrayRef, meta: InodeAttr, *, replace: bool) -> NamedArray:
        """Give arrays that are there, or will be, a name.  Raises Invalid, NameTaken."""
        self._check_free(name, replace=replace)
        old = self._arrays.get(name)
        array = self._arrays[name] = NamedArray(name, meta)
        array.point_to(part)
        if old is not None:
            self._clear(old)
        return array

    def _check_free(self, filename: str, *, replace: bool) -> None:
        name, form = split_name(filename)
        if form:
            raise Invalid(f"arrays/{filename}: names of arrays have no dot; use {name}")
        if name in self._arrays and not replace:
            raise NameTaken(f"arrays/{name} is there already")

    def rename(self, array: NamedArray, new: str, *, replace: bool) -> None:
        """It stays the same file, to who has it open too.  Raises Invalid, NameTaken."""
        if array.name == new:
            return
        part, old_name = array.content(), array.name
        self._check_free(new, replace=replace)
        old = self._arrays.pop(new, None)
        array.name = new
        array.ref = ArrayRef(part.producer, array.path, part.indices, part.prefix)
        self._arrays[new] = self._arrays.pop(old_name)
        if old is not None:
            self._clear(old)

    def remove(self, array: NamedArray) -> None:
        """The name goes; its memory too, where nothing else needs it."""
        if self._arrays.get(array.name) is array:
            del self._arrays[array.name]
        self._clear(array)

    def _clear(self, array: NamedArray) -> None:
        array.remove()
        self.views.drop(array)

    async def write(
        self, array: NamedArray, spool: Spool, pool: Pool, uid: int, find: FindArray, form: str = ""
    ) -> None:
        """Take what was written: arrays in a format that tells their types, or one reference.

        Raises Invalid, NoSpace, OverQuota; what was there before stays then.  Raises Cancelled for
        an array that was removed, or another took the name of, while it was written.
        """
        try:
            part = await self._read(array, spool, pool, uid, find, form)
        except JaxfsError as error:
            array.error = error
            raise
        array.point_to(part)
        self.views.drop(array)
        if array.is_removed:
            array.point_to(None)
            raise Cancelled(f"{array.path} was removed before it was written")
        array.attr.touch()

    async def _read(
        self, array: NamedArray, spool: Spool, pool: Pool, uid: int, find: FindArray, form: str
    ) -> ArrayRef:
        request = await Request.of(spool, form or formats.detect_file(spool.view()), find)
        referred = request.reference()
        if referred is not None:
            return referred
        found = await request.infer()
        for one in found:
            _check_shape(one)
        if all(one.name for one in found):
            found = tuple(sorted(found, key=lambda one: by_key_path(one.name)))
        params = tuple(Param(one.name, one.aval) for one in found)
        _, nbytes = output_offsets(Signature((), params))
        self._quotas.reserve(uid, nbytes)
        try:
            memory = await _laid_out(request, found, pool)
        except BaseException:
            self._quotas.give_back(uid, nbytes)
            raise
        source = WrittenArrays(params, memory)
        source.refund = lambda: self._free(uid, nbytes, pool, source.number)
        source.done.set()
        return ArrayRef(source, array.path)

    def _free(self, uid: int, nbytes: int, pool: Pool, source: int) -> None:
        """Nobody needs what was written any more."""
        self._quotas.give_back(uid, nbytes)
        pool.forget(source)

    def keep(self, name: str, meta: InodeAttr, source: WrittenArrays) -> NamedArray:
        """An array that was there before a remount."""
        nbytes = sum(param.aval.nbytes for param in source.params)
        with contextlib.suppress(JaxfsError):  # over a limit that was higher: it stays all the same
            self._quotas.reserve(meta.uid, nbytes)
            source.refund = lambda: self._quotas.give_back(meta.uid, nbytes)
        source.done.set()
        return self.put(name, ArrayRef(source, f"arrays/{name}"), meta, replace=True)


def _check_shape(found: InferredParam) -> None:
    """Raises Invalid for an empty array that numpy cannot hold: its strides would be too large."""
    nbytes = math.prod(size for size in found.aval.shape if size) * found.aval.row.itemsize
    if nbytes >= MAX_STRIDE_BYTES:
        raise Invalid(f"{found.aval} is too large for an array")


async def _laid_out(request: Request, found: Sequence[InferredParam], pool: Pool) -> Input:
    """Arrays as a source has them: where they were written, if they stand well there, or copied.

    Raises Invalid, NoSpace.
    """
    inputs = await request.decode(found, pool)
    try:
        only = inputs[0] if len(inputs) == 1 else None
        if isinstance(only, Range) and only.offset % ALIGNMENT == 0:
            only.segment.retain()
            return only
        return await _together(inputs, [one.aval.nbytes for one in found], pool)
    except OSError as error:
        raise from_os_error(error, "keeping the arrays") from error
    finally:
        release_inputs(inputs)


async def _together(inputs: Sequence[object], sizes: Sequence[int], pool: Pool) -> Input:
    """One after another, as outputs stand."""
    if any(not isinstance(value, Range | bytes) for value in inputs):
        raise Invalid("a result that is not there yet is given a name by itself: write its path")
    end = 0
    offsets = [(end := -(-end // ALIGNMENT) * ALIGNMENT, end := end + size)[0] for size in sizes]
    if end <= INLINE_BYTES:
        whole = bytearray(end)
        for offset, value in zip(offsets, inputs, strict=True):
            data = _bytes_of(value)
            whole[offset : offset + len(data)] = data
        return bytes(whole)
    segment = pool.take(end)

    def copy() -> None:
        for offset, value in zip(offsets, inputs, strict=True):
            segment.write(offset, _bytes_of(value))

    try:
        if end > THREAD_BYTES:
            await trio.to_thread.run_sync(copy)
        else:
            copy()
    except BaseException:
        segment.release()
        raise
    return Range(segment, 0, end)


def _bytes_of(value: object) -> bytes | memoryview:
    if isinstance(value, Range):
        return value.segment.view(value.offset, value.nbytes)
    assert isinstance(value, bytes)
    return value


def split_name(filename: str) -> tuple[str, str]:
    """``w.npy`` -> (``w``, ``npy``).  Raises Invalid: names of arrays have no dot."""
    name, dot, form = names.check(filename).partition(".")
    accepted = [row.name for row in formats.FORMATS if row.decode is not None]
    if not name or (dot and form not in accepted):
        raise Invalid(
            f"{filename!r} is no name of an array; they have no dot, and may end in one of "
            + " ".join(f".{word}" for word in accepted)
        )
    return name, form
