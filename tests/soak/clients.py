"""Clients that call and check each answer, in threads."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FILED_EVERY = 10  # of this many calls one goes through calls/ and results/


@dataclass
class Account:
    """One client's: when each call ended (monotonic seconds) and how long it took."""

    ended_s: list[float] = field(default_factory=list)
    took_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: int = 0


class Client(threading.Thread):
    """Calls until ``stop``, or ``calls`` times; every tenth call by its own file."""

    def __init__(self, mount: Path, number: int, calls: int = 0) -> None:
        super().__init__(daemon=True)
        self._program = mount / "programs/affine"
        self._results = mount / "results"
        self._number = number
        self._left = calls or -1
        self._stop_asked = threading.Event()
        self.account = Account()

    def stop(self) -> None:
        self._stop_asked.set()

    def run(self) -> None:
        fd = os.open(self._program / "call.raw", os.O_RDWR)
        count = 0
        while self._left and not self._stop_asked.is_set():
            count += 1
            self._left -= 1
            self._one(fd, count)
        os.close(fd)

    def _one(self, fd: int, count: int) -> None:
        x = np.full(16, self._number * 1000 + count % 1000, np.float32)
        before = time.monotonic()
        try:
            filed = count % FILED_EVERY == 0
            reply = self._filed(x.tobytes(), count) if filed else _asked(fd, x.tobytes())
        except OSError as error:
            self.account.lost.append(str(error))
            return
        after = time.monotonic()
        self.account.ended_s.append(after)
        self.account.took_s.append(after - before)
        self.account.wrong += reply != (2 * x + 1).tobytes()

    def _filed(self, data: bytes, count: int) -> bytes:
        call_id = f"c{self._number}_{count}"
        (self._program / f"calls/{call_id}.raw").write_bytes(data)
        try:
            return (self._results / f"{call_id}.raw").read_bytes()
        finally:
            (self._results / call_id).unlink()


def _asked(fd: int, data: bytes) -> bytes:
    os.write(fd, data)
    return os.read(fd, len(data))
