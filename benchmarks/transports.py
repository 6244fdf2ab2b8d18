"""How a client process talks to a peer: a file, an HTTP connection, a gRPC channel, a process.

Replies land in a buffer that is kept, where the peer's client lets us; nothing is parsed that need
not be.  An ``Endpoint`` is data, so that it can be sent to a client process, which connects.
"""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from typing import Protocol

Reply = bytes | memoryview
_HEAD_BYTES = 4096  # more than the reply's header


class Transport(Protocol):
    """One connection."""

    def call(self, request: bytes) -> Reply:
        """Send the inputs, wait for the outputs; valid until the next call."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Endpoint(Protocol):
    """Where a peer answers messages of one size."""

    @property
    def echoes(self) -> bool:
        """Whether the reply is the request itself: the floor computes nothing."""
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


@dataclass(frozen=True)
class HttpPost:
    """``POST path`` with raw bytes on a connection that is kept alive."""

    port: int
    path: str
    size_bytes: int
    echoes: bool = False

    def connect(self) -> Transport:
        return _HttpTransport(self.port, self.path, self.size_bytes)


class _HttpTransport:
    """HTTP/1.1 by hand: one sendmsg, one buffer; http.client alone would cost 50 us a call."""

    def __init__(self, port: int, path: str, size_bytes: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/octet-stream\r\ncontent-length: {size_bytes}\r\n\r\n"
        ).encode()
        self._buffer = bytearray(_HEAD_BYTES + size_bytes)
        self._view = memoryview(self._buffer)

    def call(self, request: bytes) -> Reply:
        sent = self._socket.sendmsg([self._head, request])
        if sent < len(self._head) + len(request):
            self._socket.sendall(memoryview(request)[sent - len(self._head) :])
        got, begin = self._receive_head()
        end = begin + len(request)
        while got < end:
            got += self._receive(got)
        return self._view[begin:end]

    def _receive_head(self) -> tuple[int, int]:
        """(bytes received, where the body begins).  Raises ConnectionError unless it is 200 OK."""
        got = 0
        while (found := self._buffer.find(b"\r\n\r\n", 0, got)) < 0:
            got += self._receive(got)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(bytes(self._view[:got]).decode(errors="replace"))
        return got, found + 4

    def _receive(self, position: int) -> int:
        received = self._socket.recv_into(self._view[position:])
        if not received:
            raise ConnectionError("the server closed the connection")
        return received

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class GrpcUnary:
    """A unary method whose messages are the raw bytes."""

    port: int
    method: str
    options: tuple[tuple[str, int], ...]
    echoes: bool = False

    def connect(self) -> Transport:
        return _GrpcTransport(self)


class _GrpcTransport:
    def __init__(self, endpoint: GrpcUnary) -> None:
        # here, so that the other peers' clients do not carry its threads
        import grpc  # type: ignore[import-untyped]  # grpcio ships no types

        # without a pool of its own a channel would share the connection of the others
        options = (*endpoint.options, ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{endpoint.port}", options=options)
        self.call = self._channel.unary_unary(endpoint.method)

    def close(self) -> None:
        self._channel.close()


@dataclass(frozen=True)
class Command:
    """A program that is started for each call: standard input in, standard output out."""

    argv: tuple[str, ...]
    echoes: bool = False

    def connect(self) -> Transport:
        return _CommandTransport(self.argv)


class _CommandTransport:
    def __init__(self, argv: tuple[str, ...]) -> None:
        self._argv = argv

    def call(self, request: bytes) -> Reply:
        return subprocess.run(self._argv, input=request, stdout=-1, check=True).stdout

    def close(self) -> None:
        """Nothing stays between calls."""
