"""Symbolic links in ``programs/``: names for programs elsewhere.

``ln -s ../transformations/vmap/grad/loss programs/per_example`` gives a transformed program a name.
The kernel follows it; only ``transformations/`` needs to know where one leads.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import attrs

from jaxfs.errors import Invalid, JaxfsError, NameTaken
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.posix.node_object import OwnedNodeObject
from jaxfs.programs import names
from jaxfs.programs.program_records import check_link
from jaxfs.programs.store import Store
from jaxfs.programs.stored_records import LinkRecord
from jaxfs.quotas import PROGRAMS, Charge, Quotas

HERE = "/programs"


@attrs.define(eq=False)
class Link(OwnedNodeObject):
    """A symbolic link.

    Attributes:
        name: in ``programs/``.
        target: the path as symlink(2) had it.
        attr: owner, mode and times.
        place: what it costs its user.
        serial: distinguishes node objects for as long as the daemon runs.
    """

    name: str
    target: str
    attr: InodeAttr
    place: Charge | None = None
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    def leads_to(self) -> tuple[str, ...]:
        """Returns the components of the target's path in the mount; empty if it is outside.

        >>> attr = InodeAttr(0, 0, 0o777)
        >>> Link("per_example", "../transformations/vmap/loss", attr).leads_to()
        ('transformations', 'vmap', 'loss')
        """
        path = posixpath.normpath(posixpath.join(HERE, self.target))
        return tuple(path.strip("/").split("/")) if not self.target.startswith("/") else ()


class Links:
    """All links of a mount, by name; they outlive the daemon."""

    def __init__(self, store: Store, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas
        self._links: dict[str, Link] = {}
        for record in store.links():
            try:
                check_link(record)
            except JaxfsError as error:
                store.skip(store.record_path("links", record.name), error.reason)
                continue
            attr = InodeAttr(record.uid, record.gid, 0o777)
            place = quotas.charge(attr.uid, PROGRAMS, 1, force=True)
            self._links[record.name] = Link(record.name, record.target, attr, place)

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def get(self, name: str) -> Link | None:
        """Returns the link of this name."""
        return self._links.get(name)

    def drop_shadowed(self, name: str) -> None:
        """Leaves out a link with the name of a program; its record stays."""
        if self._links.pop(name, None) is not None:
            path = self._store.record_path("links", name)
            self._store.skip(path, f"there is a program programs/{name}")

    def create(self, name: str, target: str, attr: InodeAttr) -> Link:
        """Adds a link.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
            NameTaken: There is a link of this name.
            OverQuota: The user has too many programs and links.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        if names.check(name) in self._links:
            raise NameTaken(f"programs/{name} is there already")
        place = self._quotas.charge(attr.uid, PROGRAMS, 1)
        try:
            self._put(name, target, attr)
        except JaxfsError:
            place.refund()
            raise
        link = self._links[name] = Link(name, target, attr, place)
        return link

    def remove(self, link: Link) -> None:
        """Removes a link; its target stays.

        The record goes too, so that the link is not there after a remount.
        """
        self._drop(link)
        if link.place is not None:
            link.place.refund()

    def _drop(self, link: Link) -> None:
        self._store.drop_link(link.name)
        del self._links[link.name]

    def rename(self, link: Link, new: str) -> None:
        """Gives a link another name, and replaces a link that has it.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        self._put(names.check(new), link.target, link.attr)
        self._drop(link)
        replaced = self._links.get(new)
        if replaced is not None and replaced.place is not None:
            replaced.place.refund()
        link.name = new
        self._links[new] = link

    def _put(self, name: str, target: str, attr: InodeAttr) -> None:
        """Writes the record of a link, instead of an older one.

        Raises:
            Invalid: The target is not UTF-8, which records are.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        try:
            target.encode()
        except UnicodeEncodeError:
            raise Invalid("the target of the link is not UTF-8") from None
        self._store.put_link(LinkRecord(name, target, attr.uid, attr.gid))
