"""The names in ``programs/``: sources, symbolic links and staging files.

A program has two names, that of its source and that of its directory.  No two of all these are the
same.  What happens when a source is written is in `source_builds`, after a remount in `restore`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

import msgspec
import trio

from jaxfs.errors import Invalid, JaxfsError, NameTaken, NotFound
from jaxfs.posix.credentials import InodeAttr
from jaxfs.programs import names
from jaxfs.programs.builder import Builder
from jaxfs.programs.derived import Derivations
from jaxfs.programs.links import Link, Links
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_records import check_program, outlives, remember
from jaxfs.programs.restore import Restorer
from jaxfs.programs.source_builds import SourceBuilds
from jaxfs.programs.staged_file import StagedFile
from jaxfs.programs.staging import StagingFiles
from jaxfs.programs.stored_records import ProgramRecord
from jaxfs.programs.wanted_version import WantedVersion
from jaxfs.quotas import PROGRAMS, Quotas

MAX_LINKS = 40  # in a chain, as the kernel follows them
Named = SourceProgram | Link | StagedFile
log = logging.getLogger(__name__)


def _ignore(program: SourceProgram, error: JaxfsError) -> None:
    """Does nothing with the error of a build that nothing waited for."""


class Programs:
    """The programs of a mount, by name; they outlive the daemon.

    Args:
        builder: Compiles them.
        quotas: What each user may cost.
        nursery: Must live longer than every build.
        failed: Is called with the error of a build that nothing waited for.

    Attributes:
        jobs: build steps under way and ended.
        derivations: programs made from programs.
        builds: compiles of sources.
        links: symbolic links to programs.
        staging: files that wait for a rename.
    """

    def __init__(
        self,
        builder: Builder,
        quotas: Quotas,
        nursery: trio.Nursery,
        failed: Callable[[SourceProgram, JaxfsError], None] = _ignore,
    ) -> None:
        self._quotas = quotas
        self.jobs = builder.jobs
        self.derivations = Derivations(builder, nursery)
        self.builds = SourceBuilds(builder, self.derivations, nursery, failed)
        self.links = Links(builder.store, quotas)
        self.staging = StagingFiles(builder, quotas, nursery)
        self._store = builder.store
        self._disk = builder.disk
        self._restorer = Restorer(builder, self.builds, self.derivations, nursery)
        self._programs: dict[str, SourceProgram] = {}

    @property
    def damaged_records(self) -> int:
        """How many records of the state directory were left out; the log names each."""
        return self._store.damaged_records

    def __iter__(self) -> Iterator[SourceProgram]:
        return iter(tuple(self._programs.values()))

    def __len__(self) -> int:
        return len(self._programs)

    def restore(self) -> None:
        """Brings the programs of the state directory back; see `Restorer`.

        Removes the sources that nothing uses any more.
        """
        records = self._store.records()
        for record in sorted(records, key=lambda record: names.is_source_like(record.name)):
            try:
                check_program(record)
                free = self._with_free_names(record)
                program = self._programs[free.name] = self._restorer.restore(free)
                program.place = self._quotas.charge(free.uid, PROGRAMS, 1, force=True)
                self._disk.update(program)
            except Exception as error:  # whatever is in one record, the others are served
                path = self._store.record_path("programs", record.name)
                self._store.skip(path, str(error) or repr(error))
        for program in self:
            self.links.drop_shadowed(program.name)
            self.links.drop_shadowed(program.source_name)
        used = {program.source_sha256 for program in self}
        used |= {program.pending_sha256 for program in self}
        self._store.drop_unused_sources(used | {file.sha256 for file in self.staging})
        self._disk.restore()
        self._restorer.check_sources(tuple(self))

    def _with_free_names(self, record: ProgramRecord) -> ProgramRecord:
        """Returns a record whose names are free.

        Earlier versions took two programs of which one had the other's source as its directory.
        """
        name = record.name
        taken = {name for program in self for name in (program.name, program.source_name)}
        while taken & {name, f"{name}.{record.extension}"}:
            name = f"{name.replace('.', '_')}_"
        if name == record.name:
            return record
        log.warning("programs/%s is now programs/%s: the name is that of a file", record.name, name)
        renamed = msgspec.structs.replace(record, name=name)
        try:
            self._store.put_record(renamed)
            self._store.drop_record(record.name)
        except JaxfsError as error:
            log.warning("programs/%s will be renamed at the next mount: %s", record.name, error)
        return renamed

    def remember(self, program: SourceProgram) -> None:
        """Writes the program's record, for the next mount, and compiles what has no verdict yet.

        Its owner may be another one: that one is charged from now on.

        Raises:
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        remember(self._store, program)
        program.pass_to(program.attr)
        self._disk.update(program)
        self.builds.retry(program)

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
        """Returns an empty file: a program's source, or a staging file; or the one that is there.

        Raises:
            Invalid: It is no name of such a file.
            NameTooLong: The name is too long.
            NameTaken: A link, or a program with another extension, has the name.
            OverQuota: The user has too many programs, or staging files.
        """
        found = self.find_file(filename)
        if found is not None:
            return found
        if names.is_staging(filename):
            self._check_free((filename,))
            return self.staging.create(filename, attr)
        return self._add(self._new_program(filename, attr))

    def _new_program(self, filename: str, attr: InodeAttr) -> SourceProgram:
        name, extension = names.split_source(filename)
        self._check_free((name, filename))
        place = self._quotas.charge(attr.uid, PROGRAMS, 1)
        return SourceProgram(
            name=name, extension=extension, owner=attr, start=self.builds.retry, place=place
        )

    def _add(self, program: SourceProgram) -> SourceProgram:
        self._programs[program.name] = program
        return program

    def link(self, name: str, target: str, attr: InodeAttr) -> Link:
        """Adds a symbolic link.

        Raises:
            Invalid: It is no name, or the name of a transformation.
            NameTooLong: The name is too long.
            NameTaken: A program, its source or a link has the name.
            OverQuota: The user has too many programs and links.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        self._check_free((name,))
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
            self._store.drop_record(file.name)
            self._forget(file)

    def rename(self, old: str, new: str, *, replace: bool = True) -> None:
        """Renames a file; a staging file that gets a program's name becomes its source.

        The kernel locks the directory meanwhile, so that this waits for nothing: a compile that has
        not ended goes on.  Nothing has changed if it raises.

        Raises:
            NotFound: There is no file ``old``.
            NameTaken: There is a file ``new``, and ``replace`` is off or it is of another kind.
            Invalid: The new name is no name of such a file.
            OverQuota: The user has too many programs, or staging files.
            JaxfsError: The compile of the staging file has ended with it.
        """
        source = self.links.get(old) or self._existing_file(old)
        target = self.links.get(new) or self.find_file(new)
        if not replace and target is not None:
            raise NameTaken(f"programs/{new} is there already")
        if old == new:
            return
        if isinstance(source, Link):
            self._check_free((new,), target if isinstance(target, Link) else None)
            self.links.rename(source, new)
        elif names.is_staging(names.check(new)):
            self._check_free((new,), target if isinstance(target, StagedFile) else None)
            self._rename_to_staging(source, new)
        elif isinstance(source, SourceProgram):
            self._rename_program(source, new)
        else:
            self._rename_staged(source, new)

    def _rename_to_staging(self, file: SourceProgram | StagedFile, new: str) -> None:
        if isinstance(file, StagedFile):
            self.staging.rename(file, new)
            return
        self.staging.put(StagedFile(new, file.attr, file.source_sha256, file.source_bytes))
        self._store.drop_record(file.name)
        self._forget(file)

    def _rename_staged(self, staged: StagedFile, new: str) -> None:
        """Makes a staging file the source of a program, whose new version serves when it is there.

        Raises:
            JaxfsError: The compile of the staging file has ended with it.
        """
        found = self.find_file(new)
        program = found if isinstance(found, SourceProgram) else self._new_program(new, staged.attr)
        wanted = WantedVersion(
            staged.sha256, staged.nbytes, program.device, program.options, owner=staged.attr
        )
        try:
            self.staging.check_is_program(staged)
            self.builds.replace(program, wanted, staged.build)
        except JaxfsError as error:
            if program.current is not None:  # its error file shows why it was not replaced
                program.error = error
            if program is not found and program.place is not None:
                program.place.refund()
            raise
        self._add(program)
        self.staging.forget(staged)
        staged.program = program

    def _rename_program(self, program: SourceProgram, new: str) -> None:
        """Renames a program, and replaces one that has its new name.

        The new record is written before the old one is dropped.
        """
        other = self.find_file(new)
        name, extension = (
            (other.name, other.extension)
            if isinstance(other, SourceProgram)
            else names.split_source(new)
        )
        self._check_free((name, new), program, other)
        before = program.name, program.extension
        program.name, program.extension = name, extension
        try:
            remember(self._store, program)
        except JaxfsError:
            program.name, program.extension = before
            raise
        if not outlives(program):
            self._store.drop_record(name)
        if name != before[0]:
            self._store.drop_record(before[0])
            del self._programs[before[0]]
        if isinstance(other, SourceProgram):
            self._forget(other)
        self._add(program)

    def _forget(self, program: SourceProgram) -> None:
        """Removes a program that has no record; its builds end."""
        program.is_removed = True
        program.cancel_builds()
        program.drop_inputs()
        if program.place is not None:
            program.place.refund()
        self._disk.drop(program)
        if self._programs.get(program.name) is program:
            del self._programs[program.name]

    def _existing_file(self, filename: str) -> SourceProgram | StagedFile:
        """Returns the file of a name, as `find_file`.

        Raises:
            NotFound: There is no such file.
        """
        file = self.find_file(filename)
        if file is None:
            raise NotFound(f"there is no programs/{filename}")
        return file

    def _find(self, name: str) -> Named | None:
        """Returns what has a name in ``programs/``, a program also by that of its directory."""
        return self.get(name) or self.links.get(name) or self.find_file(name)

    def _check_free(self, wanted: Iterable[str], *but: Named | None) -> None:
        """Checks that names are free.

        Args:
            wanted: The names.
            but: What may have them.

        Raises:
            NameTaken: Something else has one.
        """
        for name in wanted:
            found = self._find(name)
            if found is None or any(found is one for one in but):
                continue
            if isinstance(found, Link):
                raise NameTaken(f"programs/{name} is a link; remove it first")
            if isinstance(found, SourceProgram) and found.name == name:
                raise NameTaken(
                    f"programs/{name} is made from {found.source_name}; remove that first, "
                    f"or write to it: the content decides what it is, not the name"
                )
            raise NameTaken(f"programs/{name} is there already")
