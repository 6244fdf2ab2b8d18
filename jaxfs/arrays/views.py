"""Views of arrays: ``results/<id>.<suffix>`` and ``arrays/<name>.<suffix>``.

A suffix selects arrays by number or name, a format, or both, as in ``results/7.params.txt``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import attrs

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.long_texts import LOOP_BYTES, SIZED_ELEMENTS, Content, TextMemory, encode
from jaxfs.arrays.producers import Producer
from jaxfs.codecs import formats
from jaxfs.errors import NotFound
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, NodeObject, OwnedNodeObject
from jaxfs.types.buffers import Rope
from jaxfs.types.signature import Param

KEPT_BYTES = 1 << 10  # of text and headers that a view keeps: part of what a result is charged
KEPT_PIECES = 64  # of a rope that it keeps: each takes some hundred bytes
MAX_VIEWS = 64  # of one owner, whose inodes stay the same


class ViewOwner(NodeObject, Protocol):
    """A call or a named array, as far as its views need it."""

    @property
    def result_mode(self) -> int:
        """The permission bits of what is read."""
        ...

    def content(self) -> ArrayRef:
        """Returns a reference to all of its arrays.

        Raises:
            Invalid: It has none yet.
        """
        ...


@attrs.define(eq=False)
class View(OwnedNodeObject):
    """One file that shows arrays: all or some of an owner's, in a format.

    Attributes:
        owner: The call or the named array.
        suffix: What follows the owner's name: empty, or ``0``, ``result``, ``txt``, ``0.txt``.
        format: The name of the format.
        serial: Numbers its inode.
    """

    owner: ViewOwner
    _ref: ArrayRef | None
    suffix: str
    format: str
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    _rope: Rope | None = None
    _made_bytes: int = 0  # of what is not kept, once it was made
    _owner_serial: int = attrs.field(init=False)

    @_owner_serial.default
    def _serial_of_owner(self) -> int:
        return self.owner.serial

    @property
    def ref(self) -> ArrayRef:
        """The arrays that are shown.

        Raises:
            NotFound: The owner has no such array.
            Invalid: Nothing was written to the owner.
        """
        if self._ref is None:
            self._ref = _select(self.owner, _split(self.suffix)[0])
        return self._ref

    @property
    def is_early(self) -> bool:
        """Whether the arrays are not known yet: a write of the owner was under way."""
        return self._ref is None

    @property
    def is_replaced(self) -> bool:
        """Whether its owner holds other arrays by now."""
        return self.owner.serial != self._owner_serial

    @property
    def is_whole(self) -> bool:
        """Whether it shows all arrays of its owner as .npy."""
        return not self.suffix

    @property
    def producer(self) -> Producer:
        """What makes its arrays."""
        return self.ref.producer

    def size(self) -> int:
        """Returns the size of the file in bytes, or 0 while it is unknown.

        It is known from submission on where it follows from the types.  The size of text follows
        from the values: it is worked out when the arrays are there, and for large ones only when
        the file is opened, because stat(2) must not take long.
        """
        if self._rope is not None:
            return self._rope.nbytes
        if not self.producer.params or self.producer.error is not None:
            return 0
        fixed = _encoded_size(self.format, self.ref.params)
        if fixed is not None:
            return fixed
        params = self.ref.params
        is_long = sum(param.aval.size for param in params) > SIZED_ELEMENTS
        if self.producer.memory is None or is_long or self.ref.nbytes > LOOP_BYTES:
            return self._made_bytes
        if not self._made_bytes:
            self._keep(formats.encode(self.format, self.ref.params, self.ref.outputs()))
        return self._made_bytes

    async def load(self, memory: TextMemory) -> Content:
        """Returns the bytes of the file; valid while the producer's memory is retained.

        They are made once if they are few, beside the arrays; else for each reader, who releases
        them.

        Args:
            memory: For a long text.

        Raises:
            NotReady: The arrays are not there yet.
            Invalid: The format cannot hold them.
            TooBig: They are too many for text.
            OverQuota: The reader would exceed the share of one user.
            Cancelled: The result was cancelled or removed.
            JaxfsError: Another error of the producer.
        """
        outputs = self.ref.outputs()
        if self._rope is not None:
            return self._rope
        content = await encode(self.format, self.ref.params, outputs, memory)
        self._keep(content)
        return content

    def _keep(self, content: Content) -> None:
        """Keeps what is short beside the arrays, and of the rest the size."""
        self._made_bytes = content.nbytes
        if not isinstance(content, Rope) or len(content.pieces) > KEPT_PIECES:
            return
        if content.own_bytes <= KEPT_BYTES:
            self._rope = content

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
        return self._ref.producer.link_count if self._ref is not None else 1

    def mode_of(self, spec: NodeMode) -> int:
        """Returns the permission bits that its call or array gives the file."""
        return self.owner.mode_of(spec)

    def set_mode(self, spec: NodeMode, mode: int) -> None:
        """Changes those of all views of its call or array."""
        self.owner.set_mode(spec, mode)


@lru_cache(maxsize=4096)
def _encoded_size(format_name: str, params: tuple[Param, ...]) -> int | None:
    """Returns ``formats.encoded_size``, cached: each stat(2) asks, for few programs' outputs.

    Returns:
        The size in bytes; None if it depends on the values.
    """
    return formats.encoded_size(format_name, params)


class ViewTable:
    """The views of a mount's results and named arrays.

    A view has an inode number of its own, so a suffix must lead to the same object each time.  The
    registries of calls and arrays drop an owner's views when it loses its name or its content; an
    open file keeps its view.  Of an owner with many views the oldest is forgotten.  So an owner
    must be in one of these registries: the array of a binding is not, and its view is made anew
    (``make_view``).
    """

    def __init__(self) -> None:
        self._views: dict[ViewOwner, dict[str, View]] = {}

    def view(self, owner: ViewOwner, suffix: str, *, is_early: bool = False) -> View:
        """Returns the view that a suffix names.

        Args:
            owner: The call or the named array.
            suffix: What follows its name.
            is_early: Whether a write of the owner is under way, so that its arrays need not be
                known: the view finds them when it is opened.

        Raises:
            NotFound: The owner has no such array, and there is no such format.
            Invalid: The owner is a named array to which nothing was written.
        """
        known = self._views.get(owner)
        found = known.get(suffix) if known is not None else None
        if found is not None and found.is_early and not is_early:
            found.ref  # noqa: B018  # raises where the owner has no such array after all
        if found is None:
            found = make_view(owner, suffix, is_early=is_early)
            views = self._views.setdefault(owner, {})
            views[suffix] = found
            if len(views) > MAX_VIEWS:
                del views[next(iter(views))]
        return found

    def drop(self, owner: ViewOwner) -> None:
        """Forgets the views of an owner."""
        self._views.pop(owner, None)


def make_view(owner: ViewOwner, suffix: str = "", *, is_early: bool = False) -> View:
    """Returns a new view: of all arrays as .npy, or of what a suffix selects, in its format.

    Args:
        owner: The call or the named array.
        suffix: What follows its name.
        is_early: Whether its arrays need not be known yet.

    Raises:
        NotFound: The owner has no such array, and there is no such format.
        Invalid: The owner is a named array to which nothing was written.
    """
    selector, format_name = _split(suffix)
    return View(owner, None if is_early else _select(owner, selector), suffix, format_name)


def _split(suffix: str) -> tuple[str, str]:
    """Returns the selector of a suffix, empty for all arrays, and its format.

    >>> _split("0.txt"), _split("txt"), _split("params.w"), _split("")
    (('0', 'txt'), ('', 'txt'), ('params.w', 'npy'), ('', 'npy'))
    """
    if not suffix or suffix in formats.BY_NAME:
        return "", suffix or "npy"
    selector, _, name = suffix.rpartition(".")
    return (selector, name) if selector and name in formats.BY_NAME else (suffix, "npy")


def _select(owner: ViewOwner, selector: str) -> ArrayRef:
    """Returns the arrays of an owner that a selector names; all for an empty one.

    Raises:
        NotFound: There is none.
        Invalid: The owner is a named array to which nothing was written.
    """
    ref = owner.content()
    selected = ref.select(selector) if selector else ref
    if selected is None:
        raise NotFound(f"there is no array {selector!r} in {ref.path}, and no format {selector!r}")
    return selected
