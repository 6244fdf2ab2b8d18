"""The inodes that the kernel has references to.

An inode number is made of the serial of the object and the number of the spec, so it is the same
as long as the object lives, and a name that is used again is a new inode.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from jaxfs.errors import NotFound
from jaxfs.posix.node_object import NodeObject
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirEntry
from jaxfs.vfs.node_table import NUMBERS, ROOT
from jaxfs.vfs.nodes import ROOT_INO, Node

_SPECS_PER_SERIAL = 1024


def inode_number(spec: str, node_object: NodeObject) -> int:
    """Returns the inode number of the node that shows an object.

    Args:
        spec: The pattern of the node's spec.
        node_object: The object; a new serial gives all its nodes new numbers.
    """
    return node_object.serial * _SPECS_PER_SERIAL + NUMBERS[spec] + 2


class Inodes:
    """The nodes of a mount that the kernel knows, with its reference counts (FUSE's nlookup).

    A node is kept until the kernel has forgotten all references to it, removed or not.
    """

    def __init__(self, mount: Mount) -> None:
        self._mount = mount
        self._nodes = {ROOT_INO: Node(ROOT_INO, ROOT, mount, "", ROOT_INO)}
        self._lookups: dict[int, int] = defaultdict(int)
        self._by_owner: dict[int, set[int]] = defaultdict(set)  # inodes by owner id

    def node(self, ino: int) -> Node:
        """Returns the node of a number.

        Raises:
            NotFound: The kernel has no reference to it.
        """
        try:
            return self._nodes[ino]
        except KeyError:
            raise NotFound(f"inode {ino} is gone") from None

    def path(self, ino: int) -> str:
        """Returns the path of a node in the mount, for people; empty for the root."""
        names: list[str] = []
        while ino != ROOT_INO and (node := self._nodes.get(ino)) is not None:
            names.append(node.name)
            ino = node.parent
        return "/".join(reversed(names))

    def node_of(self, entry: DirEntry[NodeObject], parent: Node) -> Node:
        """Returns the node that an entry leads to: the known one, or a new one that is not kept."""
        ino = inode_number(entry.spec.pattern, entry.node_object)
        known = self._nodes.get(ino)
        if known is not None and known.name == entry.name:
            return known
        return Node(ino, entry.spec, entry.node_object, entry.name, parent.ino)

    def count(self, ino: int) -> None:
        """Counts a reference of the kernel, also to a number that has no node any more.

        Its node may be removed between a listing and the kernel's use of the number; the kernel
        drops such a reference as any other.
        """
        self._lookups[ino] += 1

    def keep(self, node: Node) -> None:
        """Keeps a node under its number, until the kernel drops its last reference.

        It replaces an older node of the number, which had another name before a rename.
        """
        self._nodes[node.ino] = node
        self._by_owner[node.node_object.owner_id].add(node.ino)
        self._mount.inodes = len(self._nodes)

    def forget(self, ino: int, count: int) -> None:
        """Drops references of the kernel, and with the last one the node."""
        self._lookups[ino] -= count
        if self._lookups[ino] > 0 or ino == ROOT_INO:
            return
        del self._lookups[ino]
        node = self._nodes.pop(ino, None)
        if node is None:
            return
        owner_id = node.node_object.owner_id
        self._by_owner[owner_id].discard(ino)
        if not self._by_owner[owner_id]:
            del self._by_owner[owner_id]
        self._mount.inodes = len(self._nodes)

    def known_of(self, owner_id: int) -> Iterable[Node]:
        """Returns the nodes of all objects that disappear together."""
        return [self._nodes[ino] for ino in self._by_owner.get(owner_id, ())]
