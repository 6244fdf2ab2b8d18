"""Symbolic links in ``programs/``: names for programs that stand elsewhere.

``ln -s ../transformations/vmap/grad/loss programs/per_example`` gives a transformed program a name.
The kernel follows it; only ``transformations/`` has to know where one leads.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

import attrs

from jaxfs.errors import NameTaken
from jaxfs.posix.credentials import SERIALS, InodeAttr
from jaxfs.programs import names
from jaxfs.programs.store import LinkRecord, Store

HERE = "/programs"


@attrs.define(eq=False)
class Link:
    """A name and the path it stands for, as symlink(2) was given it."""

    name: str
    target: str
    meta: InodeAttr
    serial: int = attrs.field(factory=lambda: next(SERIALS))

    def leads_to(self) -> tuple[str, ...]:
        """The parts of the target's path in the mount; outside of it, nothing."""
        path = posixpath.normpath(posixpath.join(HERE, self.target))
        return tuple(path.strip("/").split("/")) if not self.target.startswith("/") else ()


class Links:
    """All of them; they outlive the daemon."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._links: dict[str, Link] = {}
        for record in store.links():
            meta = InodeAttr(record.uid, record.gid, 0o777)
            self._links[record.name] = Link(record.name, record.target, meta)

    def __iter__(self) -> Iterator[Link]:
        return iter(tuple(self._links.values()))

    def get(self, name: str) -> Link | None:
        """The link of this name."""
        return self._links.get(name)

    def create(self, name: str, target: str, meta: InodeAttr) -> Link:
        """Raises Invalid, NameTaken, NoSpace."""
        if names.check(name) in self._links:
            raise NameTaken(f"programs/{name} is there already")
        self._store.put_link(LinkRecord(name, target, meta.uid, meta.gid))
        link = self._links[name] = Link(name, target, meta)
        return link

    def remove(self, link: Link) -> None:
        """The name goes; what it stood for stays."""
        del self._links[link.name]
        self._store.drop_link(link.name)

    def rename(self, link: Link, new: str) -> None:
        """Raises Invalid, NoSpace."""
        names.check(new)
        self.remove(link)
        other = self._links.get(new)
        if other is not None:
            self.remove(other)
        link.name = new
        self._store.put_link(LinkRecord(new, link.target, link.meta.uid, link.meta.gid))
        self._links[new] = link
