"""``results/<id>.<what>`` and ``arrays/<name>.<what>``: selecting, converting and sizing."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import attrs
import trio

from jaxfs.arrays.inputs import CHEAP, THREAD_BYTES
from jaxfs.arrays.producers import ArrayRef, Producer
from jaxfs.codecs import formats
from jaxfs.errors import NotFound
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, NodeObject, OwnedNodeObject
from jaxfs.types.buffers import Rope, TypedBuffer
from jaxfs.types.signature import Param


class ViewOwner(NodeObject, Protocol):
    """A call or a named array, as far as its views need it."""

    @property
    def result_mode(self) -> int: ...

    def content(self) -> ArrayRef:
        """Returns a reference to all of its arrays.  Raises Invalid where it has none yet."""


@attrs.define(eq=False)
class View(OwnedNodeObject):
    """One way to look at arrays: all or some, in a format."""

    owner: ViewOwner
    ref: ArrayRef
    suffix: str  # "", "0", "result", "txt", "0.txt" ...
    format: str
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    _rope: Rope | None = None
    _owner_serial: int = attrs.field(init=False)

    @_owner_serial.default
    def _serial_of_owner(self) -> int:
        return self.owner.serial

    @property
    def is_replaced(self) -> bool:
        """Whether its owner holds other arrays by now."""
        return self.owner.serial != self._owner_serial

    @property
    def is_whole(self) -> bool:
        """Whether it shows all that its owner has."""
        return not self.suffix

    @property
    def producer(self) -> Producer:
        """Where its arrays come from."""
        return self.ref.producer

    def size(self) -> int:
        """The exact size: known from submission on where the format allows, else when done."""
        if self._rope is not None:
            return self._rope.nbytes
        if not self.ref.producer.params or self.ref.producer.error is not None:
            return 0
        fixed = _fixed_size(self.format, self.ref.params)
        if fixed is not None:
            return fixed
        return self._size_by_value()

    def _size_by_value(self) -> int:
        """Text is as long as its numbers: stat of a large one that nobody opened yet says 0."""
        if self.ref.producer.memory is None or self.ref.nbytes > THREAD_BYTES:
            return 0
        self._rope = formats.encode(self.format, self.ref.params, self.ref.outputs())
        return self._rope.nbytes

    async def load(self) -> Rope:
        """The bytes, made once; good while the source's memory is held (``Source.hold``).

        Raises NotReady, Invalid, Cancelled for a removed result, or the source's own error.
        """
        outputs = self.ref.outputs()
        if self._rope is None:
            self._rope = await encode(self.format, self.ref.params, outputs)
        return self._rope

    @property
    def owner_id(self) -> int:
        """The owner id of its call or array: they disappear together."""
        return self.owner.owner_id

    @property
    def attr(self) -> InodeAttr:
        """Owner and times of its call or array."""
        return self.owner.attr

    @property
    def nlink(self) -> int:
        """How many names its arrays have."""
        return self.producer.link_count

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the permission bits that its call or array gives the file."""
        return self.owner.mode_of(spec)

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes those of all views of its call or array."""
        self.owner.set_mode(spec, mode)


@lru_cache(maxsize=4096)
def _fixed_size(form: str, params: tuple[Param, ...]) -> int | None:
    """As ``formats.encoded_size``: asked at each stat, of a few programs' outputs."""
    return formats.encoded_size(form, params)


async def encode(form: str, params: tuple[Param, ...], buffers: list[TypedBuffer]) -> Rope:
    """Outputs in a format, as one stream; what takes long to write does not hold up the mount."""
    if form not in CHEAP and sum(len(buffer.data) for buffer in buffers) > THREAD_BYTES:
        return await trio.to_thread.run_sync(formats.encode, form, params, buffers)
    return formats.encode(form, params, buffers)


class ViewTable:
    """The views of a mount's results and named arrays.

    A view has an inode number of its own, so a suffix must lead to the same object each time.  The
    registries of calls and arrays drop an owner's views when its name or its content goes; what
    has a view open keeps it as long as it needs it.
    """

    def __init__(self) -> None:
        self._views: dict[ViewOwner, dict[str, View]] = {}

    def view(self, owner: ViewOwner, suffix: str) -> View:
        """Returns the view that a suffix names.

        Raises:
            NotFound: The owner has no such array, and there is no such format.
            Invalid: The owner is a named array to which nothing was written.
        """
        known = self._views.get(owner)
        found = known.get(suffix) if known is not None else None
        if found is None:
            found = make_view(owner, suffix)
            self._views.setdefault(owner, {})[suffix] = found
        return found

    def drop(self, owner: ViewOwner) -> None:
        """Forgets the views of an owner."""
        self._views.pop(owner, None)


def make_view(owner: ViewOwner, suffix: str = "") -> View:
    """Returns a new view: of all arrays as .npy, or of what a suffix selects, in its format.

    Raises NotFound and Invalid as ``ViewTable.view``.
    """
    ref = owner.content()
    selector, _, name = suffix.rpartition(".")
    if not suffix or suffix in formats.BY_NAME:
        return View(owner, ref, suffix, suffix or "npy")
    if not selector or name not in formats.BY_NAME:
        selector, name = suffix, "npy"
    selected = ref.select(selector)
    if selected is None:
        raise NotFound(f"there is no array {selector!r} in {ref.path}, and no format {selector!r}")
    return View(owner, selected, suffix, name)
