"""A process that makes one system call on a file that waits, as a C program would: no retry.

Run as ``python waiter.py KIND PATH default|handled|ignored call|thread|inherited|exit|retry``.
Exits 0 when the call gave the right answer, 4 on EINTR, 5 on another error, 6 on wrong data.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
DATA = b"the right data\n"
DISPOSITIONS = {"default": signal.SIG_DFL, "ignored": signal.SIG_IGN}
ALTERED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGWINCH", "SIGURG", "SIGCHLD")


def on_signal(number: int, frame: object) -> None:
    os.write(1, f"handled {number}\n".encode())


def set_signals(disposition: str) -> None:
    for name in ALTERED:
        signal.signal(getattr(signal, name), DISPOSITIONS.get(disposition, on_signal))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def checked(result: int) -> int:
    """As `result`, or the end of the process with a status that tells the errno."""
    if result < 0:
        os._exit(4 if ctypes.get_errno() == errno.EINTR else 5)
    return result


def opened(path: str, flags: int = os.O_RDONLY) -> int:
    return checked(LIBC.open(path.encode(), flags))


def read_all(fd: int) -> None:
    buffer = ctypes.create_string_buffer(64)
    got = checked(LIBC.read(fd, buffer, 64))
    os._exit(0 if buffer.raw[:got] == DATA else 6)


def write_all(fd: int) -> None:
    """More than a page: libfuse hands such a request on in a pipe."""
    block = bytes(65536)
    os._exit(0 if checked(LIBC.write(fd, block, len(block))) == len(block) else 6)


CALLS: dict[str, Callable[[str], object]] = {
    "open": lambda path: read_all(opened(path)),
    "busy": lambda path: read_all(opened(path)),
    "read": lambda path: read_all(opened(path)),
    "write": lambda path: write_all(opened(path, os.O_WRONLY)),
    "flush": lambda path: checked(LIBC.close(opened(path))),
    "rename": lambda path: checked(LIBC.rename(path.encode(), f"{path}.new".encode())),
}


def in_thread(kind: str, path: str) -> None:
    threading.Thread(target=CALLS[kind], args=[path]).start()
    signal.pause()


def inherited(kind: str, fd: str) -> None:
    read_all(int(fd))


def exit_with_open_file(kind: str, path: str) -> None:
    opened(path)
    os._exit(0)


def retry(kind: str, path: str) -> None:
    """Python's own open retries after EINTR, once the handler ran (PEP 475)."""
    read_all(os.open(path, os.O_RDONLY))


WAYS: dict[str, Callable[[str, str], object]] = {
    "call": lambda kind, path: CALLS[kind](path),
    "thread": in_thread,
    "inherited": inherited,
    "exit": exit_with_open_file,
    "retry": retry,
}

if __name__ == "__main__":
    kind, path, disposition, way = sys.argv[1:]
    set_signals(disposition)
    WAYS[way](kind, path)
    os._exit(0)
