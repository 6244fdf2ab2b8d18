"""A message socket between two processes of jaxfs.

``SOCK_SEQPACKET`` keeps message borders and, unlike a byte stream, needs no framing; descriptors
(shared memory, reply sockets) ride along as SCM_RIGHTS.  Messages are msgspec structs in msgpack.
Array data never travels here beyond ``INLINE_BYTES``: it stands in shared memory.
"""

from __future__ import annotations

import array
import os
import socket
import time
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
import trio

VERSION = 1
INLINE_BYTES = 16 << 10  # a payload up to this size rides in the message itself
MAX_MESSAGE_BYTES = 1 << 18  # more than any message; the kernel's default socket buffer is 208 KiB
MAX_FDS = 16
_ANCILLARY = socket.CMSG_SPACE(MAX_FDS * 4)
_TAKE = int(socket.MSG_CMSG_CLOEXEC)  # ints: combining the enum's members costs microseconds
_TAKE_NOW = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)

Message = TypeVar("Message")


class Closed(Exception):
    """The process at the other end has ended, or closed its end."""


class MessageTooLong(Exception):
    """A message is over ``MAX_MESSAGE_BYTES``."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, close-on-exec, with room for many small messages."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return ends


def send_fds(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    """One message, at once; BlockingIOError where a non-blocking socket is full."""
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([data], [rights])
    else:
        sock.send(data)


class Inbox:
    """Takes messages from a socket into one buffer that stays: a fresh one of the largest size
    for each message costs more than the message."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(MAX_MESSAGE_BYTES)
        self._view = memoryview(self._buffer)
        self._buffers = [self._buffer]

    def take(self, flags: int = _TAKE) -> tuple[memoryview, list[int]]:
        """One message, valid until the next, and its descriptors.

        Raises Closed at end of file, BlockingIOError where nothing is there and it may not wait.
        """
        try:
            nbytes, ancillary, _, _ = self._sock.recvmsg_into(self._buffers, _ANCILLARY, flags)
        except ConnectionResetError as error:
            raise Closed from error
        fds = _descriptors(ancillary) if ancillary else []
        if not nbytes:
            for fd in fds:
                os.close(fd)
            raise Closed
        return self._view[:nbytes], fds


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return list(fds)


class Channel(Generic[Message]):
    """The blocking end, for workers.

    ``receives`` is the union of struct types the other end may send; anything else raises
    msgspec.ValidationError.
    """

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        self.sock = sock
        self._inbox = Inbox(sock)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(receives)

    def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send one message; the caller keeps and closes its descriptors."""
        try:
            send_fds(self.sock, self._encoder.encode(message), fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self) -> tuple[Message, list[int]]:
        """The next message; its descriptors now belong to the caller."""
        data, fds = self._inbox.take()
        return self._decoder.decode(data), fds

    def receive_within(self, spin_s: float) -> tuple[Message, list[int]] | None:
        """The next message if it comes within so short a time, without going to sleep for it.

        Waking a process up on another core takes longer than a small run does.
        """
        deadline = time.perf_counter() + spin_s
        while True:
            try:
                data, fds = self._inbox.take(_TAKE_NOW)
            except BlockingIOError:
                if time.perf_counter() > deadline:
                    return None
            else:
                return self._decoder.decode(data), fds

    def close(self) -> None:
        self.sock.close()


class AsyncChannel(Generic[Message]):
    """The front's end: the same messages, never blocking the event loop.

    Sending keeps order: once a message had to wait for room, later ones wait behind it.
    """

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._inbox = Inbox(sock)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(receives)
        self._turn = trio.Lock()

    async def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Send one message, waiting for room where the other end is slow.  Raises Closed."""
        data = self._encoder.encode(message)
        if not self._turn.locked() and self._send_now(data, fds):
            return
        async with self._turn:
            while not self._send_now(data, fds):
                await trio.lowlevel.wait_writable(self.sock)

    def send_nowait(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> bool:
        """Send one message if there is room for it now and nobody waits to send.

        Raises Closed, and TooLong where no amount of room would do.
        """
        data = self._encoder.encode(message)
        if len(data) > MAX_MESSAGE_BYTES:
            raise MessageTooLong(len(data))
        return not self._turn.locked() and self._send_now(data, fds)

    def _send_now(self, data: bytes, fds: Sequence[int]) -> bool:
        try:
            send_fds(self.sock, data, fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError, trio.ClosedResourceError, OSError) as error:
            raise Closed from error
        return True

    def receive_nowait(self) -> tuple[Message, list[int]] | None:
        """The next message if it is there already.  Raises Closed."""
        try:
            data, fds = self._inbox.take()
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error
        try:
            return self._decoder.decode(data), fds
        except msgspec.MsgspecError:
            for fd in fds:  # nonsense from a process that runs users' code must not fill our table
                os.close(fd)
            raise

    async def receive(self) -> tuple[Message, list[int]]:
        """The next message.  Raises Closed when the other process has ended."""
        while True:
            found = self.receive_nowait()
            if found is not None:
                return found
            await trio.lowlevel.wait_readable(self.sock)

    def close(self) -> None:
        """Close this end; a task waiting on it gets Closed."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
