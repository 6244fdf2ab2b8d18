"""One name in ``arrays/``, and its contents from before."""

from __future__ import annotations

import attrs

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.errors import Invalid, JaxfsError, recorded_briefly
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import NodeMode, OwnedNodeObject
from jaxfs.quotas import Charge


@attrs.define(eq=False)
class EarlierContents:
    """Contents of an array from before, kept while later ones may still fail.

    Attributes:
        refs: The newest last; each has a link.
        array: The array of the name: another one replaced it perhaps.
    """

    refs: list[ArrayRef] = attrs.field(factory=list)
    array: NamedArray | None = None


@attrs.define(eq=False)
class NamedArray(OwnedNodeObject):
    """A name for arrays: for one, or for the leaves of a pytree.

    Attributes:
        name: The file name.
        attr: Owner, mode and times.
        format: The format that the name announced when the file was created, such as ``npz``.
        place: The directory of the file.
        charge: What the name costs its user, besides the memory.
        ref: The arrays; None until something was written.
        error: Why the last write failed, or what was to replace the content.
        earlier: Contents from before, while later ones are not there yet.
        is_removed: Whether the name is gone, or leads to another object.
        serial: Numbers its inodes.  Changes with the content, so that the kernel keeps no pages of
            the old one.
        owner_id: Never changes: the same for all inodes it ever had.
    """

    name: str
    attr: InodeAttr
    format: str = ""
    place: str = "arrays"
    charge: Charge | None = None
    ref: ArrayRef | None = None
    error: JaxfsError | None = attrs.field(default=None, converter=recorded_briefly)
    earlier: EarlierContents = attrs.field(factory=EarlierContents)
    is_removed: bool = False
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    owner_id: int = attrs.field(factory=lambda: next(SERIALS))

    @property
    def path(self) -> str:
        """The path of the file in the mount."""
        return f"{self.place}/{self.name}"

    @property
    def result_mode(self) -> int:
        """The permission bits of what is read."""
        return self.attr.mode & 0o444

    @property
    def state(self) -> str:
        """The state in ``status``: empty, pending, ready or failed."""
        if self.ref is None:
            return "failed" if self.error is not None else "empty"
        if not self.ref.producer.has_ended:
            return "pending"
        return "failed" if self.ref.producer.error is not None else "ready"

    def point_to(self, ref: ArrayRef | None) -> None:
        """Makes this the name of other arrays, or of none.

        The content from before is kept until the arrays are there: they may fail.
        """
        old, self.ref = self.ref, None
        if old is not None:
            self.earlier.refs.append(old)
            self.serial = next(SERIALS)
        if ref is not None:
            ref.producer.add_link()
            self.ref = ArrayRef(ref.producer, self.path, ref.indices, ref.prefix)
            self.error = None
        if ref is None or ref.producer.has_ended:
            dropped, self.earlier.refs = self.earlier.refs, []
            for one in dropped:
                one.producer.drop_link()

    def take_earlier(self, other: NamedArray) -> None:
        """Takes the content of an array that this one replaces, to come back to it."""
        other.earlier, taken = EarlierContents(), other.earlier
        if other.ref is not None:
            other.ref.producer.add_link()
            taken.refs.append(other.ref)
        taken.refs += self.earlier.refs
        self.earlier, taken.array = taken, self

    def review(self) -> bool:
        """Returns to the last content that did not fail, and frees those that are not needed.

        Returns:
            Whether the content is another one now.
        """
        if self.ref is None:
            return False
        refs = [*self.earlier.refs, self.ref]
        whole = [ref for ref in refs if not ref.producer.is_failed]
        if not whole:
            return False
        ready = [number for number, ref in enumerate(whole) if ref.producer.has_ended]
        kept = whole[ready[-1] if ready else 0 :]
        is_changed = self.ref is not kept[-1]
        if is_changed:
            self.error, self.serial = self.ref.producer.error, next(SERIALS)
        self.ref, self.earlier.refs = kept[-1], kept[:-1]
        numbers = set(map(id, kept))
        for ref in refs:
            if id(ref) not in numbers:
                ref.producer.drop_link()
        return is_changed

    def remove(self) -> None:
        """Drops the content, also that of a write which is not complete yet.

        Such a write raises Cancelled when it ends, as it finds ``is_removed`` set.
        """
        self.is_removed = True
        self.point_to(None)
        if self.charge is not None:
            self.charge.refund()

    def content(self) -> ArrayRef:
        """Returns a reference to its arrays.

        Raises:
            Invalid: Nothing was written to it, or the only write failed.
        """
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
        """Changes the mode of all files of the array, which share it.

        Args:
            spec: Not used: it does not matter which of the files is meant.
            mode: The new permission bits; the execute bits are dropped.
        """
        del spec
        self.attr.mode = mode & 0o666
