"""The signals that ask a command to stop.

Raising from a handler could lose a daemon that has just been started and is not known yet.  So a
signal is only noted, and looked at where stopping is safe.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs

from mountctl.errors import Interrupted

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_stop_signals(act: Callable[[str], object]) -> Iterator[None]:
    """Inside the context ``act`` is called with the signal's name instead of ending the command."""
    before = {
        number: signal.signal(number, lambda n, frame: act(signal.Signals(n).name))
        for number in STOPPING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@attrs.define
class StopRequest:
    """Whether a signal came; ``fd`` becomes readable then, for select."""

    fd: int
    name: str = ""

    def check(self) -> None:
        """Raises Interrupted."""
        if self.name:
            raise Interrupted(f"{self.name}: nothing was mounted")


@contextmanager
def record_stop_signals() -> Iterator[StopRequest]:
    """Inside the context signals are noted."""
    reader, writer = os.pipe()
    stop = StopRequest(reader)

    def note(name: str) -> None:
        if not stop.name:
            stop.name = name
            os.write(writer, b"\0")

    try:
        with handle_stop_signals(note):
            yield stop
    finally:
        os.close(reader)
        os.close(writer)
