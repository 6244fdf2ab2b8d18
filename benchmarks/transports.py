"""How a client process talks to a peer.

An ``Endpoint`` is data, so that it can be sent to a client process, which connects.  The HTTP and
gRPC connections are beside their servers in ``peers``; a file is here, because jaxfs and all floors
are called through one.  Replies land in a buffer that is kept, and nothing is parsed needlessly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Protocol

Reply = bytes | memoryview


class Transport(Protocol):
    """One connection."""

    def call(self, request: bytes) -> Reply:
        """Sends the inputs, waits for the outputs; valid until the next call."""
        ...

    def close(self) -> None:
        """Ends the connection."""
        ...


class Endpoint(Protocol):
    """Where a peer answers messages of one size."""

    @property
    def echoes(self) -> bool:
        """Whether the reply is the request itself: a floor computes nothing."""
        ...

    def connect(self) -> Transport:
        """A new connection."""
        ...


@dataclass(frozen=True)
class OpenFile:
    """``call.raw`` of a program, or anything else that answers what was written with reads."""

    path: str
    size_bytes: int
    echoes: bool = False

    def connect(self) -> Transport:
        """Opens the file; each connection has its own descriptor and reply buffer."""
        return _FileTransport(self.path, self.size_bytes)


class _FileTransport:
    def __init__(self, path: str, size_bytes: int) -> None:
        self._fd = os.open(path, os.O_RDWR)
        self._reply = memoryview(bytearray(size_bytes))

    def call(self, request: bytes) -> Reply:
        sent = os.write(self._fd, request)
        while sent < len(request):
            sent += os.write(self._fd, memoryview(request)[sent:])
        got = os.readv(self._fd, [self._reply])
        while got < len(self._reply):
            more = os.readv(self._fd, [self._reply[got:]])
            if not more:
                raise EOFError(f"the reply ended after {got} of {len(self._reply)} bytes")
            got += more
        return self._reply

    def close(self) -> None:
        os.close(self._fd)
