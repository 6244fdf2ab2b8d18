"""Shared memory for what a codec makes of a request: inflated, reordered or parsed arrays.

They are written straight to the segment that a run or a name keeps, and charged before: a copy in
this process would be charged to no user, and an archive may be a thousand times as long inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, TypeVarTuple

import attrs
import trio

from jaxfs.arrays.codec_threads import run_codec
from jaxfs.arrays.producers import INLINE_INPUT_BYTES
from jaxfs.codecs.pieces import BLOCK_BYTES, blocks
from jaxfs.engine.interface import Range
from jaxfs.errors import from_os_error
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.types.buffers import FOR_A_WHILE, ArrayPlace, Bytes, PrivatePlace

Found = TypeVar("Found")
Arguments = TypeVarTuple("Arguments")
Charge = Callable[[int], Callable[[], None]]  # charges a user for bytes, returns the refund
THREAD_BYTES = 1 << 18  # more than this is copied in a thread: it would delay other requests
MAX_PRIVATE_BYTES = 1 << 20  # of the short arrays of a request


@attrs.define(eq=False)
class SharedPlace:
    """A place in shared memory.

    Attributes:
        range: The memory, retained.
        owner: What counts it.
    """

    range: Range
    owner: DecodedMemory

    def write(self, offset: int, data: Bytes) -> None:
        """Stores bytes at an offset."""
        self.range.segment.write(self.range.offset + offset, data)

    def view(self) -> memoryview:
        """Returns the bytes; valid while the range is retained."""
        return self.range.segment.view(self.range.offset, self.range.nbytes)

    def free(self) -> None:
        """Gives the memory back."""
        _on_loop(self.owner.free, self)


class DecodedMemory:
    """The memory of one request's arrays; those that are not handed out are freed in the end.

    Args:
        pool: Gives the memory.
        charge: Charges the user, before the memory is taken.
    """

    def __init__(self, pool: Pool, charge: Charge) -> None:
        self._pool = pool
        self._charge = charge
        self._places: set[SharedPlace] = set()
        self._private_bytes = 0

    def take(self, index: int, nbytes: int) -> ArrayPlace:
        """Returns memory for an array; of this process if it is short.  Any thread may call it.

        Raises:
            OverQuota: The user would exceed its share.
            NoSpace: There is no memory.
        """
        if nbytes <= INLINE_INPUT_BYTES and self._private_bytes + nbytes <= MAX_PRIVATE_BYTES:
            self._private_bytes += nbytes
            return PrivatePlace(index, nbytes)
        return _on_loop(self._take, index, nbytes)

    def _take(self, index: int, nbytes: int) -> SharedPlace:
        try:
            place = SharedPlace(self._range(index, nbytes), self)
        except OSError as error:
            raise from_os_error(error, "keeping the inputs") from error
        self._places.add(place)
        return place

    def _range(self, index: int, nbytes: int) -> Range:
        """Returns memory for an array, retained.

        Raises:
            OSError: There is none.
        """
        del index  # each has memory of its own
        return charged_range(self._pool, self._charge, nbytes)

    def hand_out(self, place: SharedPlace) -> Range:
        """Returns the memory of a place; the caller releases it from now on."""
        self._places.discard(place)
        return place.range

    def free(self, place: SharedPlace) -> None:
        """Frees the memory of a place, unless it was handed out."""
        if place in self._places:
            self._places.discard(place)
            place.range.segment.release()

    def close(self) -> None:
        """Frees what was not handed out."""
        for place in tuple(self._places):
            self.free(place)


class JoinedMemory(DecodedMemory):
    """Memory for arrays that are kept together, in one segment that was charged before.

    Args:
        pool: Gives the memory.
        charge: Charges the user for what is needed for a while only.
        offsets: Where each array lies in it.
        nbytes: The length of all.

    Attributes:
        whole: The memory, once a part of it was taken.
    """

    def __init__(self, pool: Pool, charge: Charge, offsets: Sequence[int], nbytes: int) -> None:
        super().__init__(pool, charge)
        self._offsets = offsets
        self._nbytes = nbytes
        self.whole: Range | None = None

    def _range(self, index: int, nbytes: int) -> Range:
        if index == FOR_A_WHILE:
            return super()._range(index, nbytes)
        if self.whole is None:
            segment, start = self._pool.take_range(self._nbytes)
            self.whole = Range(segment, start, self._nbytes)
        whole = self.whole
        return Range(whole.segment.retain(), whole.offset + self._offsets[index], nbytes)

    def is_at(self, index: int, found: Range) -> bool:
        """Returns whether an array is where it is kept."""
        whole = self.whole
        if whole is None or found.segment is not whole.segment:
            return False
        return found.offset == whole.offset + self._offsets[index]

    def close(self) -> None:
        """Frees what was not handed out, and the whole, which a user of it has retained."""
        super().close()
        if self.whole is not None:
            self.whole.segment.release()
            self.whole = None


class InputCopies:
    """Inputs that are copied to shared memory, once all are known: many bytes in a thread.

    Args:
        pool: The memory.
        charge: Charges the user, before the memory is taken.

    Attributes:
        pool: The memory.
    """

    def __init__(self, pool: Pool, charge: Charge) -> None:
        self.pool = pool
        self._charge = charge
        self._copies: list[tuple[Range, Bytes]] = []
        self._sources: list[Segment] = []

    def add(self, data: Bytes) -> Range:
        """Returns memory, which the caller releases; ``data`` is copied to it by ``make``.

        Raises:
            OverQuota: The user would exceed its share.
            NoSpace: There is no memory.
        """
        found = charged_range(self.pool, self._charge, len(data))
        self._copies.append((found, data))
        return found

    def of(self, source: Range, pool: Pool) -> Range:
        """Returns memory for an array of another engine; a ``CopyInput``."""
        assert pool is self.pool
        found = self.add(source.segment.view(source.offset, source.nbytes))
        self._sources.append(source.segment.retain())
        return found

    async def make(self, uid: int) -> None:
        """Copies all of them."""
        if not self._copies:
            return
        if sum(len(data) for _, data in self._copies) > THREAD_BYTES:
            await run_codec(uid, self._copy)
        else:
            self._copy()

    def _copy(self) -> None:
        for place, data in self._copies:
            for number, block in enumerate(blocks(memoryview(data))):
                place.segment.write(place.offset + number * BLOCK_BYTES, block)

    def close(self) -> None:
        """Releases what was copied."""
        sources, self._sources = self._sources, []
        for segment in sources:
            segment.release()


def charged_range(pool: Pool, charge: Charge, nbytes: int) -> Range:
    """Returns memory, retained, that is charged to a user until it is released.

    Raises:
        OverQuota: The user would exceed its share.
        NoSpace: There is no memory.
    """
    refund = charge(nbytes)
    try:
        segment, offset = pool.take_range(nbytes)
    except OSError as error:
        refund()
        raise from_os_error(error, "keeping the inputs") from error
    segment.on_return = refund
    return Range(segment, offset, nbytes)


def _on_loop(function: Callable[[*Arguments], Found], *arguments: *Arguments) -> Found:
    """Calls a function that belongs to the event loop: from it, or from a thread of a codec."""
    if trio.lowlevel.in_trio_run():
        return function(*arguments)
    return trio.from_thread.run_sync(function, *arguments)
