"""The words of mount(8) that mean the same for every filesystem.

fstab(5) lines hold them beside jaxfs' own, and mount(8) hands all of them on.  A word is ignored
where it changes nothing here, and refused where ignoring it would lie.
"""

from __future__ import annotations

import fnmatch

import attrs

from jaxfs.errors import Invalid


@attrs.frozen
class MountOption:
    """Patterns of words, as in fnmatch(3), and what becomes of them."""

    patterns: str  # separated by spaces
    why: str
    refused: bool = False

    @property
    def what(self) -> str:
        """What becomes of them."""
        return ("refused: " if self.refused else "ignored: ") + self.why

    def match(self, word: str) -> bool:
        return any(fnmatch.fnmatchcase(word, pattern) for pattern in self.patterns.split())


TABLE: tuple[MountOption, ...] = (
    MountOption("defaults rw", "what every jaxfs is"),
    MountOption("auto noauto nofail _netdev x-* X-*", "for whoever reads fstab: mount -a, systemd"),
    MountOption("user users nouser owner noowner group nogroup", "mount(8) sees to who may mount"),
    MountOption("user=* helper=* uhelper=* comment=*", "notes of mount(8)'s own"),
    MountOption("dev nodev suid nosuid nosymfollow", "there are no such files in it"),
    MountOption("exec", "the default"),
    MountOption(
        "atime noatime relatime norelatime strictatime nostrictatime", "it keeps no such times"
    ),
    MountOption("diratime nodiratime lazytime nolazytime", "it keeps no such times"),
    MountOption("sync async dirsync", "close(2) says how it went in any case"),
    MountOption("mand nomand iversion noiversion silent loud", "nothing here asks for it"),
    MountOption("setuid=*", "mount.fuse3 has done so"),
    MountOption(
        "ro",
        "asking is writing, so a read-only jaxfs could not be used; for programs nobody may change:"
        " chmod, or mount --bind -o ro of programs",
        refused=True,
    ),
    MountOption(
        "uid=* gid=* umask=* fmask=* dmask=*",
        "files belong to who makes them, with the mode of their umask; to change that: chown and"
        " chmod, or mount as that user",
        refused=True,
    ),
    MountOption("remount", "options are of a mount's whole life; umount, then mount", refused=True),
    MountOption(
        "fscontext=* defcontext=* rootcontext=*", "only context= is supported", refused=True
    ),
)


def is_ignored(word: str) -> bool:
    """Whether it is one of mount(8)'s own; raises Invalid for those that cannot be honoured."""
    for row in TABLE:
        if row.match(word):
            if row.refused:
                raise Invalid(f"option {word} is not possible with jaxfs: {row.why}")
            return True
    return False


def usage() -> str:
    """The table as text, for the help."""
    return "\n".join(f"{row.patterns}\n    {row.what}" for row in TABLE)
