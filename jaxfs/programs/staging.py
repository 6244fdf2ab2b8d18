"""Staging files: files whose names begin with a dot, stored as they are.

Editors, rsync and ``tmp=$(mktemp) ... mv`` write a file under such a name and rename it onto the
real one.  The rename compiles it, and fails if the compile fails.
"""

from __future__ import annotations

from collections.abc import Iterator

from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.program import StagedFile


class StagingFiles:
    """The staging files of a mount, by name.  They do not outlive the daemon."""

    def __init__(self) -> None:
        self._files: dict[str, StagedFile] = {}

    def __iter__(self) -> Iterator[StagedFile]:
        return iter(tuple(self._files.values()))

    def get(self, name: str) -> StagedFile | None:
        """Returns the file of this name."""
        return self._files.get(name)

    def create(self, name: str, attr: InodeAttr, data: bytes = b"") -> StagedFile:
        """Adds a file, instead of one of the same name.

        Raises:
            Invalid: It is no name.
            NameTooLong: The name is too long.
        """
        file = self._files[names.check(name)] = StagedFile(name, attr, data)
        return file

    def rename(self, file: StagedFile, name: str) -> None:
        """Gives a file another staging name, and replaces a file that has it.

        The caller has checked the name: nothing has changed when that raises.
        """
        self.remove(file)
        file.name = name
        self._files[name] = file

    def remove(self, file: StagedFile) -> None:
        """Removes a file.

        Nothing happens if another file has its name by now: a compile takes its time.
        """
        if self._files.get(file.name) is file:
            del self._files[file.name]
