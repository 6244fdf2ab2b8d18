"""The options of mount(8) that mean the same for every filesystem.

fstab(5) lines have them beside jaxfs's own, and mount(8) passes all of them on.  An option is
ignored if it changes nothing here, and refused if ignoring it would mislead.
"""

from __future__ import annotations

import fnmatch

import attrs

from jaxfs.errors import Invalid


@attrs.frozen
class MountOption:
    """Options of mount(8) that are treated alike.

    Attributes:
        patterns: As in fnmatch(3), separated by spaces.
        why: Why they are ignored or refused.
        refused: Whether they are refused.
    """

    patterns: str
    why: str
    refused: bool = False

    @property
    def what(self) -> str:
        """What happens to them, for the help."""
        return ("refused: " if self.refused else "ignored: ") + self.why

    def match(self, word: str) -> bool:
        """Returns whether an option is one of these."""
        return any(fnmatch.fnmatchcase(word, pattern) for pattern in self.patterns.split())


TABLE: tuple[MountOption, ...] = (
    MountOption("defaults rw", "every jaxfs is mounted so"),
    MountOption("auto noauto nofail _netdev x-* X-*", "for readers of fstab: mount -a, systemd"),
    MountOption("user users nouser owner noowner group nogroup", "mount(8) checks who may mount"),
    MountOption("user=* helper=* uhelper=* comment=*", "notes of mount(8)"),
    MountOption("dev nodev suid nosuid nosymfollow", "there are no such files in it"),
    MountOption("exec", "the default"),
    MountOption(
        "atime noatime relatime norelatime strictatime nostrictatime", "it keeps no such times"
    ),
    MountOption("diratime nodiratime lazytime nolazytime", "it keeps no such times"),
    MountOption("sync async dirsync", "close(2) reports errors in any case"),
    MountOption("mand nomand iversion noiversion silent loud", "changes nothing here"),
    MountOption("setuid=*", "mount.fuse3 has done so"),
    MountOption(
        "ro",
        "a call is a write, so a read-only jaxfs could not be used; for programs that no user may"
        " change: chmod, or mount --bind -o ro of programs",
        refused=True,
    ),
    MountOption(
        "uid=* gid=* umask=* fmask=* dmask=*",
        "files belong to who makes them, with the mode of their umask; to change that: chown and"
        " chmod, or mount as that user",
        refused=True,
    ),
    MountOption("remount", "options cannot change while mounted; umount, then mount", refused=True),
    MountOption(
        "fscontext=* defcontext=* rootcontext=*", "only context= is supported", refused=True
    ),
)


def is_ignored(word: str) -> bool:
    """Returns whether an option is one of mount(8)'s.

    >>> is_ignored("noatime"), is_ignored("devices=4")
    (True, False)

    Raises:
        Invalid: if it is one that cannot be honoured.
    """
    for row in TABLE:
        if row.match(word):
            if row.refused:
                raise Invalid(f"option {word} is not possible with jaxfs: {row.why}")
            return True
    return False
