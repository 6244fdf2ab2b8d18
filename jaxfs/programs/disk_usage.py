"""What programs and staging files take in the state directory, charged to their users.

A source is charged before it is written, to the user that wrote it; artifacts and executables to
the owner of the program, when the compiler has made them and before they are written.  A file is
charged once to each user with a program, staging file or build that uses it.  After the last one, a
source is removed; artifacts and executables stay as a cache of bounded size, so that the same
source need not be compiled twice.
"""

from __future__ import annotations

import _thread
import contextlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs

from jaxfs.posix import durable_files
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram, root_of
from jaxfs.programs.staged_file import StagedFile
from jaxfs.programs.store import Store, sha256
from jaxfs.quotas import DISK, Charge, Quotas

CACHE_BYTES = 2 << 30  # of what no program uses; the least recently used goes first
JUST_BUILT = 2  # an artifact and its executable, released a moment before their program uses them
THREAD_BYTES = 1 << 20
SLOW_BYTES = 4 << 20  # more than this is removed in a thread: 256 MiB take 50 ms


@attrs.define
class _UsedFile:
    """A source, or the directory of an artifact or executable, that is in use.

    Attributes:
        uses: How many programs, staging files and builds of each user use it.
        charges: What it costs these users; empty while it is not there.
    """

    uses: Counter[int] = attrs.field(factory=Counter)
    charges: dict[int, Charge] = attrs.field(factory=dict)


class DiskUsage:
    """Which files of the state directory are in use, and what they cost."""

    def __init__(self, store: Store, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas
        self._used: dict[Path, _UsedFile] = {}
        self._cached: OrderedDict[Path, int] = OrderedDict()  # sizes
        self._holders: dict[int, tuple[int, tuple[Path, ...]]] = {}  # user and files, by serial

    @property
    def cached_bytes(self) -> int:
        """How much the files take that nothing uses."""
        return sum(self._cached.values())

    @contextlib.contextmanager
    def using(self, uid: int, path: Path) -> Iterator[None]:
        """Keeps a file for the block, whether it is there yet or not.

        Raises:
            OverQuota: It is there, and the user would have too much in the state directory.
        """
        self._retain(uid, path)
        try:
            yield
        finally:
            self._release(uid, path)

    @contextlib.contextmanager
    def writing(self, uid: int, path: Path, nbytes: int) -> Iterator[None]:
        """Charges a file that the block writes.

        Raises:
            OverQuota: The user would have too much in the state directory.
        """
        with self.using(uid, path):
            charges = self._used[path].charges
            if uid in charges:
                yield
                return
            charges[uid] = self._quotas.charge(uid, DISK, nbytes)
            try:
                yield
            except BaseException:
                charges.pop(uid).refund()
                raise

    @contextlib.contextmanager
    def growing(self, uid: int, path: Path, nbytes: int) -> Iterator[None]:
        """Charges what the block adds to a directory that is there.

        Raises:
            OverQuota: The user would have too much in the state directory.
        """
        with self.using(uid, path):
            charge = self._used[path].charges.get(uid)
            if charge is not None:
                charge.resize(charge.amount + nbytes)
            try:
                yield
            except BaseException:
                if charge is not None:
                    charge.resize(charge.amount - nbytes)
                raise

    @contextlib.asynccontextmanager
    async def source(self, uid: int, data: bytes | memoryview) -> AsyncIterator[str]:
        """Writes a source, charged to a user, and keeps it for the block.

        Yields:
            Its hash.

        Raises:
            OverQuota: The user would have too much in the state directory.
            NoSpace: The disk of the state directory is full.
            RunFailed: The state directory cannot be written.
        """
        path = self._store.source_path(await self._hash(data))
        with self.using(uid, path):
            with self.writing(uid, path, len(data)):
                digest = await self._store.off_loop(self._store.put_source, data)
            yield digest

    async def _hash(self, data: bytes | memoryview) -> str:
        """Returns the hash of a source; up to ``THREAD_BYTES`` at once: a thread costs more."""
        if len(data) < THREAD_BYTES:
            return sha256(data)
        return await self._store.off_loop(sha256, data)

    def update(self, holder: Program | StagedFile) -> None:
        """Records which files a program or staging file uses now, after each change of these."""
        if _is_gone(holder):
            self.drop(holder)
            return
        uid = holder.attr.uid if isinstance(holder, StagedFile) else root_of(holder).attr.uid
        before, paths = self._holders.get(holder.serial), tuple(self._paths_of(holder))
        self._holders[holder.serial] = uid, paths
        for path in paths:
            self._retain(uid, path, force=True)
        if before is not None:
            self._release_all(*before)
            if before[0] != uid:  # chown(2)
                for derived in _derived_from(holder):
                    self.update(derived)

    def drop(self, holder: Program | StagedFile) -> None:
        """Records that a program, with those made from it, or a staging file is gone."""
        before = self._holders.pop(holder.serial, None)
        if before is not None:
            self._release_all(*before)
        for derived in _derived_from(holder):
            self.drop(derived)

    def restore(self) -> None:
        """Finds what earlier daemons left as a cache; call it when the programs are there."""
        found = [path for kind in self._store.cache_directories() for path in kind.iterdir()]
        for path in sorted(found, key=lambda path: path.lstat().st_mtime):
            if path not in self._used:
                self._cached[path] = _size_of(path)
        self._evict()

    def _paths_of(self, holder: Program | StagedFile) -> Iterator[Path]:
        if isinstance(holder, StagedFile):
            digests = [holder.sha256]
            version = holder.build.outcome if holder.build is not None else None
        else:
            digests = []
            if isinstance(holder, SourceProgram):
                digests = [holder.source_sha256, holder.pending_sha256]
            version = holder.compiled
        yield from (self._store.source_path(digest) for digest in digests if digest)
        if isinstance(version, CompiledProgram):
            yield version.artifact_path.parent
            yield version.hlo_path.parent

    def _retain(self, uid: int, path: Path, *, force: bool = False) -> None:
        used = self._used.get(path, _UsedFile())
        if uid not in used.charges and path.exists():
            used.charges[uid] = self._quotas.charge(uid, DISK, _size_of(path), force=force)
        used.uses[uid] += 1
        self._used[path] = used
        self._cached.pop(path, None)

    def _release_all(self, uid: int, paths: tuple[Path, ...]) -> None:
        for path in paths:
            self._release(uid, path)

    def _release(self, uid: int, path: Path) -> None:
        used = self._used[path]
        used.uses[uid] -= 1
        if used.uses[uid]:
            return
        del used.uses[uid]
        if uid in used.charges:
            used.charges.pop(uid).refund()
        if used.uses:
            return
        del self._used[path]
        if self._store.is_source(path):
            _remove(path)
        elif path.exists():
            self._cached[path] = _size_of(path)
            self._evict()

    def _evict(self) -> None:
        """Removes what was used least recently."""
        excess = self.cached_bytes - CACHE_BYTES
        while excess > 0 and len(self._cached) > JUST_BUILT:
            path, nbytes = self._cached.popitem(last=False)
            _remove(path)
            excess -= nbytes


def _remove(path: Path) -> None:
    """Removes a file or directory; what is large in a thread, once its name is free."""
    nbytes = _size_of(path)
    if nbytes <= SLOW_BYTES:
        durable_files.remove_left_over(path)
        return
    with contextlib.suppress(OSError):
        aside = durable_files.aside_of(path)
        path.rename(aside)
        _thread.start_new_thread(durable_files.remove_left_over, (aside,))


def _is_gone(holder: Program | StagedFile) -> bool:
    """Whether a program or staging file has no name any more."""
    if isinstance(holder, StagedFile):
        return holder.place is None
    if isinstance(holder, DerivedProgram) and holder.types is not None:
        return holder.removed or holder.base.specializations.get(holder.types) is not holder
    if isinstance(holder, DerivedProgram):
        return holder.removed or holder.base.transformed.get(holder.steps) is not holder
    return holder.removed


def _derived_from(holder: Program | StagedFile) -> tuple[DerivedProgram, ...]:
    """Returns the programs that are listed as made from a program."""
    if isinstance(holder, StagedFile):
        return ()
    return (*holder.specializations.values(), *holder.transformed.values())


def _size_of(path: Path) -> int:
    """Returns the bytes of a file, or of the files in a directory."""
    try:
        files = path.iterdir() if path.is_dir() else (path,)
        return sum(file.stat().st_size for file in files)
    except OSError:
        return 0
