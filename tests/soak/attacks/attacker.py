"""One user's part in an attack: how long it goes on, and the outcome of each step."""

from __future__ import annotations

import errno
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs

P = ParamSpec("P")
T = TypeVar("T")
WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
READ_BYTES = 1 << 20


class Attacker:
    """Does steps until its time is over, and counts how they end.

    A step blocks until the mount replies, so that the mount is loaded and not the cores.

    Attributes:
        mount: Where jaxfs is mounted.
        tag: Part of the names of all files of this attacker; no other attacker has it.
        succeeded: How many steps ended well.
        refused: How many did not, by the name of their errno.
    """

    def __init__(self, mount: Path, tag: str, seconds: float) -> None:
        self.mount = mount
        self.tag = tag
        self.succeeded = 0
        self.refused: Counter[str] = Counter()
        self._end_s = time.monotonic() + seconds

    @property
    def is_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._end_s

    def turns(self) -> Iterator[int]:
        """Counts while there is time left."""
        number = 0
        while self.is_on:
            yield number
            number += 1

    def pause(self, seconds: float) -> None:
        """Does nothing for a while, or until the time is over."""
        time.sleep(max(0.0, min(seconds, self._end_s - time.monotonic())))

    def attempt(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Does a step.

        Returns:
            What it returns; None if it was refused.
        """
        try:
            done = step(*args, **kwargs)
        except OSError as error:
            self.refused[errno.errorcode.get(error.errno or 0, type(error).__name__)] += 1
            return None
        self.succeeded += 1
        return done

    def write(self, path: str, data: bytes) -> bool:
        """Writes a file of the mount, and returns whether the mount took it."""
        return self.attempt(write_file, self.mount / path, data) is not None

    def read(self, path: str) -> int | None:
        """Reads a file of the mount to its end.

        Returns:
            The number of its bytes; None if it was refused.
        """
        return self.attempt(_drain, self.mount / path)

    def open(self, path: str, flags: int) -> int | None:
        """Opens a file of the mount.

        Returns:
            The descriptor; None if it was refused.
        """
        return self.attempt(os.open, self.mount / path, flags, 0o666)

    def remove(self, path: str) -> None:
        """Removes a file of the mount."""
        self.attempt(os.unlink, self.mount / path)

    def program(self, text: str, name: str = "") -> str:
        """Writes a program, and returns its directory."""
        label = f"{self.tag}{name}"
        self.write(f"programs/{label}.mlir", text.encode())
        return f"programs/{label}"


def write_file(path: Path, data: bytes) -> int:
    """Creates or empties a file, writes all of the data and closes it.

    Raises:
        OSError: Of open, write or close.
    """
    fd = os.open(path, WRITE, 0o666)
    try:
        written = 0
        while written < len(data):
            written += os.write(fd, data[written:])
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return written


def _drain(path: Path) -> int:
    fd = os.open(path, os.O_RDONLY)
    try:
        total = 0
        while piece := os.read(fd, READ_BYTES):
            total += len(piece)
        return total
    finally:
        os.close(fd)


@attrs.frozen
class Attack:
    """One way to cost a mount more than a user should.

    Attributes:
        name: A word, for the command line and the table.
        what: A phrase.
        run: Returns when the attacker's time is over, or when the mount gives no more.
    """

    name: str
    what: str
    run: Callable[[Attacker], None]
