"""A user of a mount without a kernel: paths, permissions, open files, as system calls see them."""

from __future__ import annotations

import contextlib
import os
import posixpath
import select
import stat
from collections import Counter
from collections.abc import AsyncIterator, Iterator

import attrs

from jaxfs.errors import (
    AccessDenied,
    Interrupted,
    Invalid,
    JaxfsError,
    NameTaken,
    NotFound,
    NotPermitted,
    NotReady,
    Unmounted,
    from_os_error,
)
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.nodes import ROOT_INO, Attributes, Changes
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.vfs import Vfs

READ, WRITE, EXECUTE = 4, 2, 1
MAX_LINKS = 40  # symbolic links on one path, as in Linux
REQUEST_BYTES = 1 << 20  # of one read or write request, as in FUSE
QUIET = (NotFound, NotReady, Interrupted, Unmounted)  # error_log has no line for them
_NEEDED = {os.O_RDONLY: READ, os.O_WRONLY: WRITE, os.O_RDWR: READ | WRITE}


@attrs.frozen
class _Place:
    """Where a path leads: a directory, a name in it, and what has this name, if anything does."""

    parent: Attributes
    name: str
    found: Attributes | None

    def attributes(self) -> Attributes:
        if self.found is None:
            raise NotFound(f"there is no {self.name!r}")
        return self.found


class ClientFile:
    """An open file of a ``VfsClient``; closing it flushes and releases.

    Attributes:
        open_file: The object of the VFS behind it.
        offset: Where the next ``read`` or ``write`` is.
    """

    def __init__(self, client: VfsClient, number: int, ino: int, open_file: OpenFile) -> None:
        self.open_file = open_file
        self.offset = 0
        self._client = client
        self._number = number
        self._ino = ino

    async def read(self, size: int = REQUEST_BYTES) -> bytes:
        """Returns the next bytes; none at the end of the file."""
        data = await self.pread(self.offset, size)
        self.offset += len(data)
        return data

    async def pread(self, offset: int, size: int = REQUEST_BYTES) -> bytes:
        """Returns the bytes at an offset."""
        with self._client.noting(self.open_file.path):
            data = self.open_file.read_now(offset, size)
            return bytes(await self.open_file.read(offset, size) if data is None else data)

    async def read_all(self) -> bytes:
        """Reads up to the end of the file."""
        pieces = list[bytes]()
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def write(self, data: bytes) -> int:
        """Writes at ``self.offset``, in requests of up to 1 MiB; returns the number of bytes."""
        written = 0
        while written < len(data):
            piece = data[written : written + REQUEST_BYTES]
            written += await self.pwrite(self.offset, piece)
            self.offset += len(piece)
        return written

    async def pwrite(self, offset: int, data: bytes) -> int:
        """Writes at an offset, in one request; returns the number of bytes."""
        with self._client.noting(self.open_file.path):
            if self.open_file.write_now(offset, data):
                return len(data)
            return await self.open_file.write(offset, data)

    async def truncate(self, size: int) -> None:
        """Cuts the file, or extends it with zeros."""
        await self._client.set_attributes(self._ino, Changes(size=size), self._number)

    async def flush(self) -> None:
        """Commits what was written, as close(2) of one of several descriptors and fsync(2) do."""
        with self._client.noting(self.open_file.path):
            await self._client.vfs.flush(self._number)

    def release(self) -> None:
        """The last descriptor is gone, without the flush of close(2)."""
        self._client.vfs.release(self._number)

    def kill(self) -> None:
        """A signal kills the only process that has it open: nothing is committed."""
        self.open_file.is_half_written = True
        self.release()

    async def close(self) -> None:
        """Flushes and releases.  Raises what the commit of the written data raises."""
        try:
            await self.flush()
        finally:
            self.release()

    def poll(self) -> int:
        """Returns the events that are true now: POLLIN, POLLOUT, POLLPRI."""
        readable = select.POLLIN if self.open_file.is_readable() else 0
        changed = select.POLLPRI if self.open_file.is_changed() else 0
        return select.POLLOUT | readable | changed

    async def wait_for(self, events: int) -> int:
        """Waits as poll(2) does, and returns the events."""
        while not self.poll() & events:
            change = self.open_file.next_change()
            assert change is not None, f"{self.open_file.path} never changes"
            await change.wait()
        return self.poll()


class VfsClient:
    """File operations of one user on a ``Vfs``; ``open_vfs`` makes one.

    Does what the kernel does in front of a FUSE daemon: looks up each part of a path, follows
    symbolic links, checks permissions, counts references to inodes.  Raises ``jaxfs.errors``, which
    carry their errno, and enters them in ``error_log`` as the daemon does.
    """

    def __init__(self, vfs: Vfs, mount: Mount, credentials: Credentials) -> None:
        self.vfs = vfs
        self.mount = mount
        self.credentials = credentials
        self._references: Counter[int] = Counter()

    # Whole files

    async def read(self, path: str, flags: int = 0) -> bytes:
        """Opens, reads to the end, closes."""
        async with self.open(path, os.O_RDONLY | flags) as file:
            return await file.read_all()

    async def text(self, path: str) -> str:
        """Returns a file as text."""
        return (await self.read(path)).decode()

    async def keyed(self, path: str) -> dict[str, str]:
        """Returns a flat keyed file as a dictionary."""
        rows = (row.partition(" ") for row in (await self.text(path)).splitlines())
        return {key: value for key, _, value in rows}

    async def write(self, path: str, data: bytes | str, mode: int = 0o666) -> None:
        """Creates or truncates, writes, closes: ``cp`` or ``echo >``."""
        async with self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode) as file:
            await file.write(data.encode() if isinstance(data, str) else data)

    async def ask(self, path: str, request: bytes | str) -> bytes:
        """Writes a request to a ``call`` file and reads the reply on the same open file."""
        async with self.open(path, os.O_RDWR) as file:
            await file.write(request.encode() if isinstance(request, str) else request)
            return await file.read_all()

    # Open files

    @contextlib.asynccontextmanager
    async def open(
        self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666
    ) -> AsyncIterator[ClientFile]:
        """Opens for a block; at its end as close(2), after an error without a commit."""
        file = await self.open_file(path, flags, mode)
        try:
            yield file
        except BaseException:
            file.release()
            raise
        await file.close()

    async def open_file(self, path: str, flags: int = os.O_RDONLY, mode: int = 0o666) -> ClientFile:
        """Opens or creates a file; the caller closes it."""
        with self.noting(path):
            place = self._walk(path)
            if place.found is None:
                return await self._create(place, flags, mode)
            if flags & os.O_CREAT and flags & os.O_EXCL:
                raise NameTaken(f"{path} is there already")
            if place.found.is_dir:
                raise Invalid(f"{path} is a directory")
            self._need(place.found, _NEEDED[flags & os.O_ACCMODE], path)
            await self.vfs.settle(ino := place.found.ino, flags)
            if self.vfs.is_outdated(ino):
                return await self.open_file(path, flags, mode)
            number, open_file = await self.vfs.open(ino, flags & ~os.O_CREAT, self.credentials)
            return ClientFile(self, number, ino, open_file)

    async def _create(self, place: _Place, flags: int, mode: int) -> ClientFile:
        if not flags & os.O_CREAT:
            place.attributes()  # raises NotFound
        self._need(place.parent, WRITE | EXECUTE, place.name)
        number, open_file, attributes = await self.vfs.create(
            place.parent.ino, place.name, mode, flags, self.credentials
        )
        self._references[attributes.ino] += 1
        return ClientFile(self, number, attributes.ino, open_file)

    # Names

    def stat(self, path: str, *, follow: bool = True) -> Attributes:
        """Returns the attributes of what a path leads to; of a link itself unless ``follow``."""
        with self.noting(path):
            return self._walk(path, follow=follow).attributes()

    def exists(self, path: str) -> bool:
        """Whether stat finds it."""
        try:
            self.stat(path)
        except NotFound:
            return False
        return True

    def listing(self, path: str) -> dict[str, Attributes]:
        """Returns names with attributes, and counts references as FUSE_READDIRPLUS does."""
        with self.noting(path):
            directory = self._walk(path).attributes()
            self._need(directory, READ, path)
            entries = list(self.vfs.listing(directory.ino, self.credentials))
            for name, attributes in entries:
                self.vfs.count_listed(directory.ino, name, attributes.ino)
                self._references[attributes.ino] += 1
            return dict(entries)

    def ls(self, path: str) -> list[str]:
        """Returns the names in a directory, sorted."""
        return sorted(self.listing(path))

    def unlink(self, path: str) -> list[tuple[int, str]]:
        """Removes a name.  Returns the other names (parent inode, name) that are gone with it."""
        with self.noting(path):
            place = self._walk(path, follow=False)
            self._check_removable(place)
            return self.vfs.unlink(place.parent.ino, place.name)

    async def rename(self, old: str, new: str, *, replace: bool = True) -> list[tuple[int, str]]:
        """Moves a name; RENAME_NOREPLACE unless ``replace``.  Returns names as ``unlink`` does."""
        with self.noting(old):
            source, target = self._walk(old, follow=False), self._walk(new, follow=False)
            self._check_removable(source)
            self._need(target.parent, WRITE | EXECUTE, new)
            if target.found is not None:
                self._check_removable(target)
            return await self.vfs.rename(
                source.parent.ino, source.name, target.parent.ino, target.name, replace=replace
            )

    def symlink(self, target: str, path: str) -> None:
        """Makes a symbolic link at ``path``."""
        with self.noting(path):
            place = self._new_name(path)
            made = self.vfs.symlink(place.parent.ino, place.name, target, self.credentials)
            self._references[made.ino] += 1

    def readlink(self, path: str) -> str:
        """Returns the target of a symbolic link."""
        return self.vfs.readlink(self.stat(path, follow=False).ino)

    def link(self, old: str, new: str) -> None:
        """Gives a file another name."""
        with self.noting(new):
            ino, place = self.stat(old).ino, self._new_name(new)
            made = self.vfs.link(ino, place.parent.ino, place.name, self.credentials)
            self._references[made.ino] += 1

    # Attributes

    async def chmod(self, path: str, mode: int) -> None:
        """Changes the permission bits; its owner and root may."""
        self._check_owner(path)
        await self.set_attributes(self.stat(path).ino, Changes(mode=mode))

    async def chown(self, path: str, uid: int | None = None, gid: int | None = None) -> None:
        """Changes owner and group; None leaves one as it is."""
        if self.credentials.uid != 0:
            raise NotPermitted("only root gives files to others")
        await self.set_attributes(self.stat(path).ino, Changes(uid=uid, gid=gid))

    async def utime(self, path: str, atime_ns: int | None, mtime_ns: int | None) -> None:
        """Sets the times, in nanoseconds since the epoch; None leaves one as it is."""
        self._check_owner(path)
        changes = Changes(atime_ns=atime_ns, mtime_ns=mtime_ns)
        await self.set_attributes(self.stat(path).ino, changes)

    async def truncate(self, path: str, size: int) -> None:
        """Cuts a file by its path, or extends it with zeros."""
        found = self.stat(path)
        self._need(found, WRITE, path)
        await self.set_attributes(found.ino, Changes(size=size))

    async def set_attributes(self, ino: int, changes: Changes, number: int | None = None) -> None:
        """Sends one setattr request, without a check; ``number`` is that of an open file."""
        with self.noting(self.vfs.path(ino)):
            await self.vfs.setattr(ino, changes, number, self.credentials)

    def xattrs(self, path: str) -> dict[str, bytes]:
        """Returns the extended attributes by name."""
        return self.vfs.xattrs(self.stat(path).ino)

    async def statfs(self) -> tuple[int, int]:
        """Returns the total and free bytes that df(1) shows."""
        return await self.mount.space()

    def drop_caches(self) -> None:
        """Drops all references to inodes, as a kernel does that needs memory."""
        references, self._references = self._references, Counter()
        for ino, count in references.items():
            self.vfs.forget(ino, count)

    # What the kernel does

    @contextlib.contextmanager
    def noting(self, path: str) -> Iterator[None]:
        """Enters errors in ``error_log``, and turns OSError into the errors of jaxfs."""
        try:
            yield
        except JaxfsError as error:
            if not isinstance(error, QUIET) and not error.is_logged:
                self.mount.note(self.credentials, path.strip("/"), error)
                error.is_logged = True
            raise
        except OSError as error:
            raise from_os_error(error, f"in a request for {path}") from error

    def _walk(self, path: str, *, follow: bool = True, links: int = 0) -> _Place:
        """Looks up a path part by part.  Raises NotFound for all but a missing last name."""
        parent = found = self.vfs.getattr(ROOT_INO, self.credentials)
        parts = [part for part in path.split("/") if part]
        for depth, name in enumerate(parts):
            parent, is_last = found, depth == len(parts) - 1
            if not parent.is_dir:
                raise NotFound(f"/{'/'.join(parts[:depth])} is no directory")
            self._need(parent, EXECUTE, path)
            try:
                found = self.vfs.lookup(parent.ino, name, self.credentials)
            except NotFound:
                if is_last:
                    return _Place(parent, name, None)
                raise
            self._references[found.ino] += 1
            if stat.S_ISLNK(found.mode) and (follow or not is_last):
                if links >= MAX_LINKS:
                    raise Invalid(f"too many symbolic links on {path}")
                target = posixpath.join("/", *parts[:depth], self.vfs.readlink(found.ino))
                rest = posixpath.normpath(posixpath.join(target, *parts[depth + 1 :]))
                return self._walk(rest, follow=follow, links=links + 1)
        return _Place(parent, parts[-1] if parts else "", found)

    def _new_name(self, path: str) -> _Place:
        place = self._walk(path, follow=False)
        if place.found is not None:
            raise NameTaken(f"{path} is there already")
        self._need(place.parent, WRITE | EXECUTE, path)
        return place

    def _need(self, attributes: Attributes, bits: int, path: str) -> None:
        """Raises AccessDenied where permission bits are missing."""
        user = self.credentials
        shift = 6 if user.uid == attributes.uid else 3 if user.gid == attributes.gid else 0
        if user.uid != 0 and attributes.mode >> shift & bits != bits:
            raise AccessDenied(f"user {user.uid} may not do this with {path}")

    def _check_owner(self, path: str) -> None:
        if self.credentials.uid not in (0, self.stat(path).uid):
            raise NotPermitted(f"{path} belongs to another user")

    def _check_removable(self, place: _Place) -> None:
        """The rules of the sticky bit; see unlink(2)."""
        found, parent = place.attributes(), place.parent
        self._need(parent, WRITE | EXECUTE, place.name)
        if parent.mode & stat.S_ISVTX and self.credentials.uid not in (0, parent.uid, found.uid):
            raise NotPermitted(f"{place.name} belongs to another user")
