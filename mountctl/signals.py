"""The signals that ask a command to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def on_signals(act: Callable[[str], None]) -> Iterator[None]:
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
