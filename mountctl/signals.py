"""The signals that ask a command to stop.

An exception raised by a handler could lose a daemon that has just been started and is not known
yet.  So handlers only record a signal, and commands check for it where stopping is safe.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from mountctl.errors import Interrupted

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def handle_stop_signals(act: Callable[[str], object]) -> Iterator[None]:
    """Inside the context ``act`` is called with a signal's name, and the command goes on."""
    before = {
        number: signal.signal(number, lambda received, _frame: act(signal.Signals(received).name))
        for number in STOP_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopRequest:
    """The first signal that asked the command to stop.

    As a context manager it records signals instead of their usual effect.

    Attributes:
        fd: Becomes readable when a signal arrives, for select(2).
        name: The signal's name; empty before.
    """

    def __init__(self) -> None:
        self.fd, self._writer = os.pipe()
        self.name = ""
        self._handling = handle_stop_signals(self._record)

    def _record(self, name: str) -> None:
        if not self.name:
            self.name = name
            os.write(self._writer, b"\0")

    def check(self) -> None:
        """Raises Interrupted if a signal arrived."""
        if self.name:
            raise Interrupted(f"{self.name}: nothing was mounted")

    def __enter__(self) -> StopRequest:
        self._handling.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handling.__exit__(kind, error, traceback)
        os.close(self.fd)
        os.close(self._writer)
