"""A filesystem in plain Python that gives back what was written to it.

``python -m benchmarks.peers.echo_python.server DIR``.  One file, ``call``; each open file is a
conversation, as with a program's ``call.raw``.  One thread reads requests from /dev/fuse and writes
replies: no pyfuse3, no trio, no libfuse.  A call costs what the kernel and the interpreter cost.
Structures and numbers are those of linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from struct import Struct

from benchmarks.peers.floors import unmount_lazily

MAX_PAGES = 256
MAX_WRITE = MAX_PAGES * 4096
BUFFER_BYTES = MAX_WRITE + 4096  # and the headers
CACHE_S = 1000  # names and attributes never change
ROOT, CALL = 1, 2
MODES = {ROOT: stat.S_IFDIR | 0o755, CALL: stat.S_IFREG | 0o666}

LOOKUP, FORGET, GETATTR, OPEN, READ, WRITE, RELEASE = 1, 2, 3, 14, 15, 16, 18
FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 36, 38, 42
NO_REPLY = frozenset((FORGET, INTERRUPT, BATCH_FORGET))
ASYNC_READ, BIG_WRITES, MAX_PAGES_FLAG = 1 << 0, 1 << 5, 1 << 22
DIRECT_IO = 1 << 0

IN_HEADER = Struct("=IIQQ16x")  # length, opcode, unique, nodeid
OUT_HEADER = Struct("=IiQ")  # length, error, unique
INIT_IN = Struct("=IIII")  # major, minor, max_readahead, flags
INIT_OUT = Struct("=IIIIHHIIHH32x")  # ... background, congestion, max_write, time_gran, max_pages
ATTR = Struct("=6Q10I")
ATTR_OUT_HEAD = Struct("=QII")
ENTRY_OUT_HEAD = Struct("=QQQQII")
OPEN_OUT = Struct("=QII")  # fh, flags
IO_IN = Struct("=QQI20x")  # fh, offset, size: of reads and writes
WRITE_OUT = Struct("=II")
FH = Struct("=Q")
HEAD = IN_HEADER.size

Handler = Callable[[int, memoryview], bytes]  # (nodeid, the request's body) to the reply's body


class Echo:
    """Keeps the written parts of each open file and hands them out in order."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._parts: dict[int, list[bytes]] = {}
        self.handlers: dict[int, Handler] = {
            INIT: self.init,
            LOOKUP: self.lookup,
            GETATTR: self.getattr,
            OPEN: self.open,
            WRITE: self.write,
            READ: self.read,
            FLUSH: self.flush,
            RELEASE: self.release,
        }

    def init(self, nodeid: int, body: memoryview) -> bytes:
        """Agrees on the kernel's offer of flags and on the size of writes."""
        _, _, readahead, offered = INIT_IN.unpack_from(body)
        flags = (ASYNC_READ | BIG_WRITES | MAX_PAGES_FLAG) & offered
        return INIT_OUT.pack(7, 31, readahead, flags, 64, 48, MAX_WRITE, 1, MAX_PAGES, 0)

    def lookup(self, nodeid: int, body: memoryview) -> bytes:
        """Returns the entry of ``call``.  Raises FileNotFoundError for every other name."""
        if bytes(body) != b"call\0":
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return ENTRY_OUT_HEAD.pack(CALL, 0, CACHE_S, CACHE_S, 0, 0) + _attributes(CALL)

    def getattr(self, nodeid: int, body: memoryview) -> bytes:
        """Returns the attributes of the root or of ``call``."""
        return ATTR_OUT_HEAD.pack(CACHE_S, 0, 0) + _attributes(nodeid)

    def open(self, nodeid: int, body: memoryview) -> bytes:
        """Starts a conversation: an empty list of parts under a new handle."""
        fh = next(self._numbers)
        self._parts[fh] = []
        return OPEN_OUT.pack(fh, DIRECT_IO, 0)

    def write(self, nodeid: int, body: memoryview) -> bytes:
        """Keeps a part; the offset does not matter."""
        fh, _, size = IO_IN.unpack_from(body)
        self._parts[fh].append(bytes(body[IO_IN.size : IO_IN.size + size]))
        return WRITE_OUT.pack(size, 0)

    def read(self, nodeid: int, body: memoryview) -> bytes:
        """Returns the oldest part, or as much of it as was asked for; nothing if there is none."""
        fh, _, size = IO_IN.unpack_from(body)
        parts = self._parts[fh]
        part = parts.pop(0) if parts else b""
        if len(part) > size:
            parts.insert(0, part[size:])
            return part[:size]
        return part

    def flush(self, nodeid: int, body: memoryview) -> bytes:
        """Replies without a body: each write is complete when it is answered."""
        return b""

    def release(self, nodeid: int, body: memoryview) -> bytes:
        """Drops the parts of a file that was closed."""
        del self._parts[FH.unpack_from(body)[0]]
        return b""


def _attributes(nodeid: int) -> bytes:
    """``struct fuse_attr``: inode, size, blocks, times; mode, links, owner, block size."""
    return ATTR.pack(nodeid, 0, 0, 0, 0, 0, 0, 0, 0, MODES[nodeid], 1, 0, 0, 0, 4096, 0)


def serve(device: int, handlers: dict[int, Handler]) -> None:
    """Answers requests until the filesystem is unmounted."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    while True:
        try:
            length = os.readv(device, [buffer])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return  # unmounted
            if error.errno in (errno.ENOENT, errno.EAGAIN):
                continue  # the request was interrupted before it was read
            raise
        _, opcode, unique, nodeid = IN_HEADER.unpack_from(buffer)
        if opcode in NO_REPLY:
            continue
        answer(device, unique, handlers.get(opcode), nodeid, buffer[HEAD:length])


def answer(
    device: int, unique: int, handler: Handler | None, nodeid: int, body: memoryview
) -> None:
    """Calls a request's handler and writes the reply."""
    error, reply = 0, b""
    try:
        if handler is None:
            error = -errno.ENOSYS
        else:
            reply = handler(nodeid, body)
    except OSError as raised:
        error = -(raised.errno or errno.EIO)
    header = OUT_HEADER.pack(OUT_HEADER.size + len(reply), error, unique)
    os.writev(device, (header, reply))


def mount(mountpoint: str) -> int:
    """Lets fusermount3 mount; the descriptor of /dev/fuse that it sends back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        subprocess.run(
            ["fusermount3", "-o", "fsname=echo,default_permissions", "--", mountpoint],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            check=True,
        )
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return descriptors[0]


def _exit(_number: int, _frame: object) -> None:
    sys.exit(0)


def main(mountpoint: str) -> None:
    """Serves until a signal or an unmount."""
    signal.signal(signal.SIGTERM, _exit)
    device = mount(mountpoint)
    print("ready", flush=True)
    try:
        serve(device, Echo().handlers)
    finally:
        unmount_lazily(mountpoint)


if __name__ == "__main__":
    main(sys.argv[1])
