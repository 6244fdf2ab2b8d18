"""Names and attributes, between pyfuse3's types and ours."""

from __future__ import annotations

import pyfuse3
from pyfuse3 import FileNameT, InodeT, ModeT

from jaxfs.errors import Invalid
from jaxfs.vfs.nodes import ROOT_INO, Attributes

BLOCK_BYTES = 4096
FIXED_S = 3600.0  # how long the kernel caches what never changes
WALK_S = 0.02  # and the permissions of a directory that a path leads through


def decode_name(name: FileNameT) -> str:
    """Returns a name as text.

    Raises:
        Invalid: It is not UTF-8; every name that exists here is.
    """
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"the name {name!r} is not UTF-8") from error


def entry_attributes(attributes: Attributes) -> pyfuse3.EntryAttributes:
    """Returns attributes for the kernel, with the time it may cache them.

    Little is cached: states and sizes change without the kernel's knowledge.  But each path leads
    through one of the root's directories, which never change.  The permissions of other directories
    are asked for right after their names were looked up, so they are cached for that long.  Of the
    root itself nothing is cached: stat(2) of it must fail when the daemon is dead.
    """
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = InodeT(attributes.ino)
    entry.st_mode = ModeT(attributes.mode)
    entry.st_nlink = attributes.nlink
    entry.st_uid, entry.st_gid = attributes.uid, attributes.gid
    entry.st_size = attributes.size
    entry.st_blksize = BLOCK_BYTES
    entry.st_blocks = -(-attributes.size // 512)
    entry.st_atime_ns = attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    entry.entry_timeout = FIXED_S if attributes.is_fixed else 0.0
    is_walked = attributes.is_dir and attributes.ino != ROOT_INO
    entry.attr_timeout = max(entry.entry_timeout, WALK_S if is_walked else 0.0)
    return entry
