"""The requests that were read and have not begun, and which of them is next.

The kernel gives requests in the order in which they came: one request of a user would wait behind a
hundred of others.  Here users take turns.

Requests differ in what waits for them.  The kernel holds the lock of a directory while it asks for
a name in it, makes or removes one, or lists it: as long as such a request of one user waits, no
other user can list the directory.  So those that may hold such a lock get half of the turns.  Those
that only look are short, and get more turns than the rest, which may move data.  What only frees
something has no answer, and no user either: it does not wait at all.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import NamedTuple, Protocol

MAX_REQUESTS = 4096  # a user may have thousands of threads; a small request takes some 200 bytes
MAX_BYTES = 32 << 20  # a write has at most 1 MiB
NONE, ONE, MORE = 0, 1, 2  # requests that were there; of ``RequestReceiver.receive``


class Opcode(IntEnum):
    """Kinds of requests that take no turn of ``OTHERS``, from linux/fuse.h."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    STATFS = 17
    RELEASE = 18
    GETXATTR = 22
    LISTXATTR = 23
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42
    READDIRPLUS = 44
    RENAME2 = 45


AT_ONCE = frozenset(
    {
        Opcode.FORGET,
        Opcode.BATCH_FORGET,
        Opcode.RELEASE,
        Opcode.RELEASEDIR,
        Opcode.INTERRUPT,
        Opcode.INIT,
        Opcode.DESTROY,
    }
)
LOOKS = frozenset(
    {
        Opcode.GETATTR,
        Opcode.READLINK,
        Opcode.STATFS,
        Opcode.GETXATTR,
        Opcode.LISTXATTR,
        Opcode.OPENDIR,
    }
)
HOLDS_DIRECTORY = frozenset(Opcode) - AT_ONCE - LOOKS
DIRECTORY, LOOK, OTHERS = range(3)  # classes of requests
CLASSES: dict[int, int] = {
    **dict.fromkeys(HOLDS_DIRECTORY, DIRECTORY),
    **dict.fromkeys(LOOKS, LOOK),
}
TURNS = (DIRECTORY, LOOK, DIRECTORY, LOOK, DIRECTORY, OTHERS)  # and again


class ReceivedRequest(NamedTuple):
    """A request that waits for its turn.

    Attributes:
        opcode: Its kind; see linux/fuse.h.
        uid: The user of the process that sent it.
        nbytes: Its length.
        held: The request itself, for the C library.
    """

    opcode: int
    uid: int
    nbytes: int
    held: object


class RequestReceiver(Protocol):
    """The C part, ``jaxfs.fuse._interrupts``: reads requests in place of pyfuse3."""

    def receive(self, fd: int, /) -> int:
        """Reads a request that is there; pyfuse3 gets it next.

        Returns:
            ``NONE``, ``ONE`` or ``MORE`` if others are there, too; less than ``NONE`` where pyfuse3
            has to read it.
        """

    def hold(self) -> tuple[int, int, int, object]:
        """Keeps what ``receive`` read; returns the fields of `ReceivedRequest`."""

    def choose(self, held: object, /) -> None:
        """Makes a request that was kept the one that pyfuse3 gets next."""


class UserTurns:
    """Requests of several users: users take turns, and each one's requests keep their order."""

    __slots__ = ("_by_user",)

    def __init__(self) -> None:
        self._by_user: dict[int, deque[ReceivedRequest]] = {}  # the next user is the first one

    def __bool__(self) -> bool:
        return bool(self._by_user)

    def add(self, request: ReceivedRequest) -> None:
        """Adds a request."""
        waiting = self._by_user.get(request.uid)
        if waiting is None:
            self._by_user[request.uid] = deque((request,))
        else:
            waiting.append(request)

    def take(self) -> ReceivedRequest:
        """Removes and returns the first request of the next user."""
        uid = next(iter(self._by_user))
        waiting = self._by_user.pop(uid)
        request = waiting.popleft()
        if waiting:
            self._by_user[uid] = waiting  # behind the others
        return request


class RequestQueue:
    """The requests that wait for their turn, in a bounded number.

    >>> queue = RequestQueue()
    >>> for opcode, uid in ((16, 1), (16, 1), (15, 2), (Opcode.CREATE, 1)):
    ...     queue.add(ReceivedRequest(opcode, uid, 64, None))
    >>> taken = [queue.take() for _ in range(4)]
    >>> [(int(request.opcode), request.uid) for request in taken]
    [(35, 1), (16, 1), (15, 2), (16, 1)]
    """

    __slots__ = ("_at_once", "_by_class", "_count", "_nbytes", "_turn")

    def __init__(self) -> None:
        self._at_once = deque[ReceivedRequest]()
        self._by_class = (UserTurns(), UserTurns(), UserTurns())
        self._turn = 0  # the next of ``TURNS``
        self._count = self._nbytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Whether more requests have to stay in the kernel for now."""
        return self._count >= MAX_REQUESTS or self._nbytes >= MAX_BYTES

    def add(self, request: ReceivedRequest) -> None:
        """Adds a request."""
        self._count += 1
        self._nbytes += request.nbytes
        if request.opcode in AT_ONCE:
            self._at_once.append(request)
        else:
            self._by_class[CLASSES.get(request.opcode, OTHERS)].add(request)

    def take(self) -> ReceivedRequest:
        """Removes and returns the next request; there is one."""
        request = self._next()
        self._count -= 1
        self._nbytes -= request.nbytes
        return request

    def _next(self) -> ReceivedRequest:
        if self._at_once:
            return self._at_once.popleft()
        while True:
            waiting = self._by_class[TURNS[self._turn]]
            self._turn = (self._turn + 1) % len(TURNS)
            if waiting:
                return waiting.take()
