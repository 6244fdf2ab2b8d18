"""FastAPI on uvicorn, and the HTTP connection to it."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, Reply, Transport

_HEAD_BYTES = 4096  # more than the reply's header


class FastApi(Peer):
    """What most people would write."""

    name = "fastapi"
    what = "FastAPI, uvicorn with uvloop and httptools, one process; raw bytes, TCP, keep-alive"

    def start(self) -> None:
        """Starts uvicorn, which prints its port when it answers."""
        command = (sys.executable, "-m", "benchmarks.peers.fastapi.server")
        started = self.resources.enter_context(server(*command))
        self._port = int(started.ready_line)

    def endpoint(self, size_bytes: int) -> Endpoint:
        """Returns the route of the program, for bodies of this size."""
        return HttpPost(self._port, "/affine", size_bytes)


@dataclass(frozen=True)
class HttpPost:
    """``POST path`` with raw bytes on a connection that is kept alive."""

    port: int
    path: str
    size_bytes: int
    echoes: bool = False

    def connect(self) -> Transport:
        """Connects to the server on this machine."""
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
