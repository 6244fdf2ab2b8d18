"""``arrays/<name>``: arrays that are kept by name."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator

from jaxfs.arrays.array_loading import check_strides, load_arrays
from jaxfs.arrays.array_names import is_staging, split_name
from jaxfs.arrays.array_refs import ArrayRef, key_path_order
from jaxfs.arrays.inputs import FindArray, Request
from jaxfs.arrays.named_array import EarlierContents, NamedArray
from jaxfs.arrays.producers import WrittenArrays
from jaxfs.arrays.staged_upload import StagedUploads
from jaxfs.arrays.views import ViewTable
from jaxfs.codecs import formats
from jaxfs.engine.interface import Range
from jaxfs.errors import (
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    from_exception,
)
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.programs import names
from jaxfs.quotas import ARRAYS, Charge, Quotas
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Param, Signature


class NamedArrays:
    """All arrays of a mount, by name.

    Their memory is charged to the user that wrote them, or that submitted the call that made them.

    Attributes:
        views: The views of these arrays and of the mount's results.
        staged: The staging files beside them.
        damaged: How many kept arrays could not be read when the mount began.
    """

    def __init__(self, quotas: Quotas) -> None:
        self.views = ViewTable()
        self.staged = StagedUploads(quotas)
        self.damaged = 0
        self._quotas = quotas
        self._arrays: dict[str, NamedArray] = {}

    def __iter__(self) -> Iterator[NamedArray]:
        return iter(tuple(self._arrays.values()))

    def get(self, name: str) -> NamedArray | None:
        """Returns the array of this name, or None."""
        return self._arrays.get(name)

    def create(self, filename: str, attr: InodeAttr) -> NamedArray:
        """Returns a new, empty array.

        Args:
            filename: A name, with a format if the content will come in that: ``w``, ``w.npz``.
            attr: Owner, mode and times.

        Raises:
            Invalid: It is no name of an array.
            NameTaken: There is an array of that name.
            OverQuota: The user has too many arrays.
        """
        name, format_name = split_name(filename)
        if name in self._arrays:
            raise NameTaken(f"arrays/{name} is there already; remove it, or write to arrays/{name}")
        charge = self._quotas.charge(attr.uid, ARRAYS, 1)
        array = self._arrays[name] = NamedArray(name, attr, format_name, charge=charge)
        return array

    def put(self, name: str, ref: ArrayRef, attr: InodeAttr, *, replace: bool) -> NamedArray:
        """Gives a name to arrays that are there, or will be.

        Raises:
            Invalid: It is no name of an array.
            NameTaken: There is an array of that name, and ``replace`` is off.
            OverQuota: The user has too many arrays.
        """
        _, format_name = self._free_name(name, replace=replace)
        if format_name:
            plain = name.removesuffix(f".{format_name}")
            raise Invalid(f"arrays/{name}: names of arrays have no dot; use {plain}")
        return self._put(name, ref, attr, self._quotas.charge(attr.uid, ARRAYS, 1))

    def _put(self, name: str, ref: ArrayRef, attr: InodeAttr, charge: Charge | None) -> NamedArray:
        old = self._arrays.get(name)
        array = self._arrays[name] = NamedArray(name, attr, charge=charge)
        if old is not None and not ref.producer.has_ended:
            array.take_earlier(old)
        self._point(array, ref)
        if old is not None:
            self._drop(old)
        return array

    def _point(self, array: NamedArray, ref: ArrayRef) -> None:
        """Gives an array other content, and comes back to what it had if that fails."""
        array.point_to(ref)
        self.views.drop(array)
        self._watch(array, ref)

    def _watch(self, array: NamedArray, ref: ArrayRef) -> None:
        """Has the contents of an array reviewed when one of them has ended."""
        earlier = array.earlier
        earlier.array = array
        if not ref.producer.has_ended:
            ref.producer.watchers.append(lambda: self._review(earlier))

    def _review(self, earlier: EarlierContents) -> None:
        array = earlier.array
        if array is not None and array.review():
            self.views.drop(array)

    def _free_name(self, filename: str, *, replace: bool) -> tuple[str, str]:
        """Returns the new name of an array, and the format that it ends in.

        Raises:
            Invalid: It is no name of an array or of a staging file.
            NameTaken: There is an array of that name, and ``replace`` is off.
        """
        if is_staging(filename):
            name, format_name = names.check(filename), ""
        else:
            name, format_name = split_name(filename)
        if name in self._arrays and not replace:
            raise NameTaken(f"arrays/{name} is there already")
        return name, format_name

    def rename(self, array: NamedArray, new: str, *, replace: bool) -> None:
        """Changes a name; open files stay open on the same array.

        By the name ``w.json`` it becomes ``w``, of which that is a view: ``sed -i`` writes a file
        beside it and renames that.

        Raises:
            Invalid: It is no name of an array, or nothing was written to the array.
            NameTaken: There is an array of that name, and ``replace`` is off.
        """
        ref, old_name = array.content(), array.name
        if old_name == new:
            return
        new, format_name = self._free_name(new, replace=replace)
        if format_name:
            array.serial = next(SERIALS)  # the kernel has the inode of the array by this name
        if old_name == new:
            return
        old = self._arrays.pop(new, None)
        array.name = new
        array.ref = ArrayRef(ref.producer, array.path, ref.indices, ref.prefix)
        self._arrays[new] = self._arrays.pop(old_name)
        if old is not None:
            if not ref.producer.has_ended:
                array.take_earlier(old)
                self._watch(array, ref)
            self._drop(old)

    def remove(self, array: NamedArray) -> None:
        """Removes a name, and the arrays where nothing else needs them.

        Another name, a run that takes them as inputs, or an open file keeps them.
        """
        if self._arrays.get(array.name) is array:
            del self._arrays[array.name]
        self._drop(array)

    def _drop(self, array: NamedArray) -> None:
        array.remove()
        self.views.drop(array)

    async def write(
        self,
        array: NamedArray,
        spool: Spool,
        pool: Pool,
        uid: int,
        find: FindArray,
        settle: Callable[[NamedArray], Awaitable[None]],
        fixed_format: str = "",
    ) -> None:
        """Gives an array the content that was written: arrays with their types, or one reference.

        Args:
            array: The array; it keeps its old content where this raises.
            spool: The bytes.
            pool: The memory for what has to be copied.
            uid: The user the memory is charged to.
            find: Looks references up.
            settle: Waits for writes of the array that began before: the last one counts.
            fixed_format: The name of a format, or empty to detect it from the bytes.

        Raises:
            Invalid: The bytes are no arrays with types.
            NoSpace: All results together would exceed the mount's limit.
            OverQuota: The user would exceed the share of one user.
            Cancelled: The array was removed, or its name taken, while it was written.
        """
        try:
            ref = await self._read(array, spool, pool, uid, find, fixed_format)
        except Exception as error:
            await settle(array)
            array.error = from_exception(error, "keeping the array")
            raise
        ref.producer.add_link()  # an earlier write may take long
        try:
            await settle(array)
            if array.is_removed:
                raise Cancelled(f"{array.path} was removed before it was written")
            self._point(array, ref)
        finally:
            ref.producer.drop_link()
        array.attr.touch()

    async def _read(
        self,
        array: NamedArray,
        spool: Spool,
        pool: Pool,
        uid: int,
        find: FindArray,
        fixed_format: str,
    ) -> ArrayRef:
        format_name = fixed_format or formats.detect_file(spool.view())
        request = await Request.of(spool, format_name, find, uid)
        referenced = request.reference()
        if referenced is not None:
            return referenced
        found = await request.infer()
        for param in found:
            check_strides(param)
        if all(param.name for param in found):
            found = tuple(sorted(found, key=lambda param: key_path_order(param.name)))
        params = tuple(Param(param.name, param.aval) for param in found)
        _, nbytes = output_offsets(Signature((), params))
        give_back = self._quotas.reserve(uid, nbytes)
        try:
            memory = await load_arrays(
                request, found, pool, lambda n: self._quotas.charge_memory(uid, n).refund
            )
        except BaseException:
            give_back()
            raise
        if isinstance(memory, Range):
            memory.segment.end_charge()  # of the upload, if it has become the array
        producer = WrittenArrays(params, memory)

        def refund() -> None:
            give_back()
            pool.forget(producer.number)

        producer.refund = refund
        producer.done.set()
        return ArrayRef(producer, array.path)

    def restore(self, name: str, attr: InodeAttr, producer: WrittenArrays) -> NamedArray:
        """Returns an array that was there before a remount, under its name again.

        It stays also where it exceeds a limit that was higher then.
        """
        nbytes = sum(param.aval.nbytes for param in producer.params)
        charge = None
        with contextlib.suppress(JaxfsError):
            producer.refund = self._quotas.reserve(attr.uid, nbytes)
        with contextlib.suppress(JaxfsError):
            charge = self._quotas.charge(attr.uid, ARRAYS, 1)
        producer.done.set()
        return self._put(name, ArrayRef(producer, f"arrays/{name}"), attr, charge)
