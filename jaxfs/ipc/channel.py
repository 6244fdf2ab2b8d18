"""A message socket between two processes of jaxfs.

``SOCK_SEQPACKET`` keeps the borders of messages, so they need no framing; descriptors (shared
memory, reply sockets) are passed along as SCM_RIGHTS, see unix(7).  Messages are msgspec structs in
msgpack.  Array data over ``INLINE_BYTES`` never travels here: it is in shared memory.

>>> class Hello(msgspec.Struct):
...     name: str
>>> one, other = pair()
>>> with one, other:
...     Channel(one, Hello).send(Hello("front"))
...     Channel(other, Hello).receive()
(Hello(name='front'), [])
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
import trio

from jaxfs.ipc.spin import spin

VERSION = 1
INLINE_BYTES = 16 << 10  # a payload up to this size is part of the message itself
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
    """Returns two connected ends, close-on-exec, with room for many small messages.

    They keep the bounds of messages (SOCK_SEQPACKET): each comes whole, with its descriptors.
    """
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    return ends


def send_fds(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    """Sends one message at once.

    Raises:
        BlockingIOError: The socket is non-blocking and full.
        OSError: The other end is closed, and as sendmsg(2).
    """
    if fds:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([data], [rights])
    else:
        sock.send(data)


class Inbox:
    """Receives messages from a socket into one buffer that is used again.

    A fresh buffer of the largest size for each message costs more than the message.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(MAX_MESSAGE_BYTES)
        self._view = memoryview(self._buffer)
        self._buffers = [self._buffer]

    def take(self, flags: int = _TAKE) -> tuple[memoryview, list[int]]:
        """Returns one message, valid until the next call, and its descriptors.

        Raises:
            Closed: End of file.
            BlockingIOError: There is no message and it may not wait for one.
        """
        try:
            nbytes, ancillary, _, _ = self._sock.recvmsg_into(self._buffers, _ANCILLARY, flags)
        except ConnectionResetError as error:
            raise Closed from error
        fds = _descriptors(ancillary) if ancillary else []
        if not nbytes:
            close_fds(fds)
            raise Closed
        return self._view[:nbytes], fds


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Returns the descriptors of a message's control data, which this process then owns.

    An incomplete number at the end, of control data that was cut off, is left out.
    """
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return list(fds)


def close_fds(fds: Sequence[int]) -> None:
    """Closes descriptors that came with a message.

    The receiver owns them: one that nothing closes keeps a segment's memory allocated.
    """
    for fd in fds:
        os.close(fd)


class Channel(Generic[Message]):
    """The blocking end, for workers.

    Args:
        sock: This process's end of a ``pair``.
        receives: The union of struct types the other end may send.  Anything else raises
            msgspec.ValidationError.
    """

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        self.sock = sock
        self._inbox = Inbox(sock)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(receives)

    def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Sends one message; the caller keeps and closes its descriptors.

        Raises:
            Closed: The other end is closed.
        """
        try:
            send_fds(self.sock, self._encoder.encode(message), fds)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Closed from error

    def receive(self) -> tuple[Message, list[int]]:
        """Waits for the next message; its descriptors then belong to the caller.

        Raises:
            Closed: The other end is closed.
        """
        data, fds = self._inbox.take()
        return self._decoder.decode(data), fds

    def receive_within(self, budget_s: float) -> tuple[Message, list[int]] | None:
        """Returns the next message and its descriptors.

        Returns:
            None if it does not come within ``budget_s`` seconds of busy waiting.
        """
        return spin(self._receive_now, budget_s)

    def _receive_now(self) -> tuple[Message, list[int]] | None:
        """Returns a message and its descriptors, None if there is none yet."""
        try:
            data, fds = self._inbox.take(_TAKE_NOW)
        except BlockingIOError:
            return None
        return self._decoder.decode(data), fds

    def close(self) -> None:
        """Closes this end."""
        self.sock.close()


class AsyncChannel(Generic[Message]):
    """The front's end: the same messages, never blocking the event loop.

    Messages arrive in the order they were sent in: once one had to wait for room, later ones wait
    behind it.  The arguments are those of ``Channel``.
    """

    def __init__(self, sock: socket.socket, receives: Any) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._inbox = Inbox(sock)
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(receives)
        self._turn = trio.Lock()

    async def send(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> None:
        """Sends one message, and waits for room if the other end is slow.

        Raises:
            Closed: The other end is closed.
        """
        data = self._encoder.encode(message)
        if not self._turn.locked() and self._send_now(data, fds):
            return
        async with self._turn:
            while not self._send_now(data, fds):
                await trio.lowlevel.wait_writable(self.sock)

    def send_nowait(self, message: msgspec.Struct, fds: Sequence[int] = ()) -> bool:
        """Sends one message if there is room for it now and no other waits to be sent.

        Returns:
            Whether it was sent.

        Raises:
            Closed: The other end is closed.
            MessageTooLong: No amount of room would do.
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
        except OSError as error:
            raise Closed from error
        return True

    def receive_nowait(self) -> tuple[Message, list[int]] | None:
        """Returns the next message if there is one.

        Raises:
            Closed: The other end is closed.
            msgspec.MsgspecError: The message is none of the types expected.
        """
        try:
            data, fds = self._inbox.take()
        except BlockingIOError:
            return None
        except OSError as error:
            raise Closed from error
        try:
            return self._decoder.decode(data), fds
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            close_fds(fds)  # a process that runs users' code must not fill our table of files
            # msgspec has no error of its own for text that is not UTF-8
            raise msgspec.DecodeError(str(error)) from None

    async def receive(self) -> tuple[Message, list[int]]:
        """Waits for the next message.

        Raises:
            Closed: The other end is closed.
            msgspec.MsgspecError: The message is none of the types expected.
        """
        while True:
            found = self.receive_nowait()
            if found is not None:
                return found
            await trio.lowlevel.wait_readable(self.sock)

    def close(self) -> None:
        """Closes this end; a task that waits on it gets trio.ClosedResourceError."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()
