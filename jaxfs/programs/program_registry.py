"""The names in ``programs/``: sources, symbolic links and staging files.

What happens when a source is written is in `source_builds`, after a remount in `restore`.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from jaxfs.errors import Invalid, NameTaken, NotFound
from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.builder import Builder
from jaxfs.programs.derived import Derivations
from jaxfs.programs.links import Link, Links
from jaxfs.programs.program import SourceProgram, StagedFile
from jaxfs.programs.program_records import remember
from jaxfs.programs.restore import Restorer
from jaxfs.programs.source_builds import SourceBuilds
from jaxfs.programs.staging import StagingFiles

MAX_LINKS = 40  # in a chain, as the kernel follows them


class Programs:
    """The programs of a mount, by name; all but staging files outlive the daemon.

    Attributes:
        jobs: build steps under way and ended.
        derivations: programs made from programs.
        builds: compiles of sources.
        links: symbolic links to programs.
        staging: files that wait for a rename.
    """

    def __init__(self, builder: Builder, nursery: trio.Nursery) -> None:
        self.jobs = builder.jobs
        self.derivations = Derivations(builder, nursery)
        self.builds = SourceBuilds(builder, self.derivations, nursery)
        self.links = Links(builder.store)
        self.staging = StagingFiles()
        self._store = builder.store
        self._restorer = Restorer(builder, self.builds, self.derivations, nursery)
        self._programs: dict[str, SourceProgram] = {}

    def __iter__(self) -> Iterator[SourceProgram]:
        return iter(tuple(self._programs.values()))

    def __len__(self) -> int:
        return len(self._programs)

    def restore(self) -> None:
        """Brings the programs of the state directory back; see `Restorer`.

        Removes the sources that no program uses any more.
        """
        for record in self._store.records():
            self._programs[record.name] = self._restorer.restore(record)
        self._store.drop_unused_sources({program.source_sha256 for program in self})

    def remember(self, program: SourceProgram) -> None:
        """Writes the program's record, for the next mount.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        remember(self._store, program)

    def get(self, name: str) -> SourceProgram | None:
        """Returns the program of this name."""
        return self._programs.get(name)

    def find_file(self, filename: str) -> SourceProgram | StagedFile | None:
        """Returns what ``programs/<filename>`` shows.

        Returns:
            The program with this source, or the staging file; None if there is no such file.
        """
        if names.is_staging(filename):
            return self.staging.get(filename)
        program = self._programs.get(filename.rpartition(".")[0])
        return program if program is not None and program.source_name == filename else None

    def resolve(self, name: str) -> tuple[SourceProgram, tuple[str, ...]] | None:
        """Follows links from a name to a program; returns it with the transformations passed."""
        steps: tuple[str, ...] = ()
        for _ in range(MAX_LINKS):
            program, link = self.get(name), self.links.get(name)
            if program is not None:
                return program, steps
            path = link.leads_to() if link else ()
            if len(path) < 2:  # outside of the mount, or one of its directories
                return None
            place, *between, name = path
            if place == "transformations":
                steps = (*steps, *between)
            elif place != "programs" or between:
                return None
        return None

    def create(self, filename: str, attr: InodeAttr) -> SourceProgram | StagedFile:
        """Adds an empty file: a program's source, or a staging file.

        Raises:
            Invalid: It is no name of such a file.
            NameTooLong: The name is too long.
            NameTaken: A link, or a program with another extension, has the name.
        """
        if names.is_staging(filename):
            return self.staging.create(filename, attr)
        name, extension = names.split_source(filename)
        self._check_free(name, extension)
        program = self._programs[name] = SourceProgram(name=name, extension=extension, owner=attr)
        return program

    def link(self, name: str, target: str, attr: InodeAttr) -> Link:
        """Adds a symbolic link.

        Raises:
            Invalid: It is no name, or the name of a transformation.
            NameTooLong: The name is too long.
            NameTaken: A program, its source or a link has the name.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        if self._has_file(name):
            raise NameTaken(f"programs/{name} is there already")
        if name in names.RESERVED:
            raise Invalid(f"{name!r} is the name of a transformation; choose another one")
        return self.links.create(name, target, attr)

    def remove(self, filename: str) -> None:
        """Removes a source with its program, a link or a staging file; calls in flight finish.

        Raises:
            NotFound: There is no such file.
        """
        link = self.links.get(filename)
        if link is not None:
            self.links.remove(link)
            return
        file = self._existing_file(filename)
        if isinstance(file, StagedFile):
            self.staging.remove(file)
        else:
            self._forget(file)

    async def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Renames a file; a staging file that gets a program's name is compiled first.

        Nothing has changed if it raises.

        Raises:
            NotFound: There is no file ``old``.
            NameTaken: There is a file ``new``, and ``replace`` is off or it is of another kind.
            Invalid: The new name is no name of such a file.
            JaxfsError: What the compile raised.
        """
        link = self.links.get(old)
        if link is not None:
            self._rename_link(link, new, replace=replace)
            return
        file = self._existing_file(old)
        if not replace and self.find_file(new) is not None:
            raise NameTaken(f"programs/{new} is there already")
        if old == new:
            return
        if isinstance(file, SourceProgram):
            self._rename_program(file, new)
        elif names.is_staging(names.check(new)):
            self.staging.rename(file, new)
        else:
            staged = file
            await self.builds.finish(lambda: self._rename_staged(staged, new))

    def _rename_link(self, link: Link, new: str, *, replace: bool) -> None:
        """Renames a symbolic link, within ``programs/``.

        Raises:
            NameTaken: A program or its source has the name, or a link that may not be replaced.
        """
        if self._has_file(new) or (not replace and self.links.get(new) is not None):
            raise NameTaken(f"programs/{new} is there already")
        if link.name != new:
            self.links.rename(link, new)

    async def _rename_staged(self, staged: StagedFile, new: str) -> None:
        """Compiles a staging file under a program's name, which it gets if that works."""
        found = self.find_file(new)
        program = found if isinstance(found, SourceProgram) else self.create(new, staged.attr)
        assert isinstance(program, SourceProgram)
        try:
            number, device = program.begin_build(), program.device
            await self.builds.build(program, number, staged.data, device, shows_failed=False)
        except BaseException:
            if found is None and not program.removed:
                self._forget(program)
            raise
        program.owner = staged.attr
        self.remember(program)
        self.staging.remove(staged)

    def _rename_program(self, program: SourceProgram, new: str) -> None:
        if names.is_staging(new):
            self.staging.create(new, program.attr, self.builds.read_source(program))
            self._forget(program)
            return
        name, extension = names.split_source(new)
        self._check_free(name, extension, program)
        other = self._programs.get(name)
        if other is not None and other is not program:
            self._forget(other)
        del self._programs[program.name]
        self._store.drop_record(program.name)
        program.name, program.extension = name, extension
        self._programs[name] = program
        self.remember(program)

    def _forget(self, program: SourceProgram) -> None:
        """Removes a program and its record.

        ``is_removed`` makes a build that is under way raise Cancelled.
        """
        program.is_removed = True
        program.drop_inputs()
        del self._programs[program.name]
        self._store.drop_record(program.name)

    def _existing_file(self, filename: str) -> SourceProgram | StagedFile:
        """Returns the file of a name, as `find_file`.

        Raises:
            NotFound: There is no such file.
        """
        file = self.find_file(filename)
        if file is None:
            raise NotFound(f"there is no programs/{filename}")
        return file

    def _has_file(self, name: str) -> bool:
        """Whether a program or its source has this name; they are different files."""
        return self.get(name) is not None or self.find_file(name) is not None

    def _check_free(self, name: str, extension: str, renamed: SourceProgram | None = None) -> None:
        """Checks that a program can have a name.

        Raises:
            NameTaken: A link, or a program with another extension, has it.
        """
        if self.links.get(name) is not None:
            raise NameTaken(f"programs/{name} is a link; remove it first")
        twin = self._programs.get(name)
        if twin is not None and twin is not renamed and twin.extension != extension:
            raise NameTaken(
                f"programs/{name} is made from {twin.source_name}; remove that first, "
                f"or write to it: the content decides what it is, not the name"
            )
