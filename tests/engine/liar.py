"""An engine that a program has got hold of: it does or says once what an engine never does.

Run as ``python liar.py LIE MARK <descriptor> <options as JSON>``; there is a file MARK as long as
the lie is not told.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from jaxfs.engine import protocol
from jaxfs.engine.worker import main as worker_main
from jaxfs.engine.worker import server
from jaxfs.ipc.channel import send_fds

Tell = Callable[[socket.socket, int], None]


def _message(make: Callable[[int], msgspec.Struct]) -> Tell:
    return lambda sock, call: send_fds(sock, msgspec.msgpack.encode(make(call)), ())


def _bytes(data: bytes) -> Tell:
    return lambda sock, call: send_fds(sock, data, ())


def _descriptors(sock: socket.socket, call: int) -> None:
    done = protocol.Done(call, 1, b"\0" * 32)
    send_fds(sock, msgspec.msgpack.encode(done), [0] * 16)


LIES: dict[str, Tell] = {
    "no message": _bytes(b"\xc1\xff"),
    "text that is not UTF-8": lambda sock, call: send_fds(
        sock,
        msgspec.msgpack.encode(protocol.Failed(call, 5, "???")).replace(b"???", b"\xff\xfe\xfd"),
        (),
    ),
    "another message": _bytes(msgspec.msgpack.encode({"type": "Done", "call": "x"})),
    "a run nobody asked for": _message(lambda call: protocol.Done(call + 1000, 1, b"\0" * 32)),
    "a failure nobody asked for": _message(lambda call: protocol.Failed(call + 1000, 5, "no")),
    "too few bytes": _message(lambda call: protocol.Done(call, 1, b"\0")),
    "a load nobody asked for": _message(lambda call: protocol.Loaded(1000, 1)),
    "a failed load nobody asked for": _message(lambda call: protocol.LoadFailed(1000, 5, "no")),
    "figures nobody asked for": _message(lambda call: protocol.MemoryStatistics(1000, {})),
    "a second start": _message(lambda call: protocol.Ready(1, "cpu", "", ())),
    "descriptors": _descriptors,
}


def main(lie: str, mark: Path, fd: int, options: str) -> None:
    """The worker, with one lie for the answer to its first run."""
    execute = server.Server._execute

    def lying(self: server.Server, message: protocol.Execute) -> None:
        if mark.exists():
            mark.unlink()
            LIES[lie](self._channel.sock, message.run)
        else:
            execute(self, message)

    setattr(server.Server, "_execute", lying)  # noqa: B010  # mypy: a method is no variable
    worker_main.main(fd, msgspec.json.decode(options, type=protocol.EngineOptions))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
