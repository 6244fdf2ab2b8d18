"""Waiting for a condition, instead of sleeping for a time that is always too long or too short."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

TIMEOUT_S = 20.0  # only a test that fails waits so long
PAUSE_S = 0.01


def eventually(
    condition: Callable[[], object],
    timeout_s: float = TIMEOUT_S,
    message: str = "the condition did not become true",
) -> None:
    """Returns once ``condition`` is true, by polling it.

    Raises AssertionError with ``message`` if it is not true after ``timeout_s`` seconds.

    >>> ready = iter([False, False, True])
    >>> eventually(lambda: next(ready))
    >>> eventually(lambda: False, timeout_s=0, message="no reply")
    Traceback (most recent call last):
    AssertionError: no reply after 0 s
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} after {timeout_s:g} s")
        time.sleep(PAUSE_S)


async def eventually_async(
    condition: Callable[[], object],
    timeout_s: float = TIMEOUT_S,
    message: str = "the condition did not become true",
) -> None:
    """Returns once ``condition`` is true; other tasks run meanwhile.

    The timeout is of the real clock also under ``trio.testing.MockClock``.
    Raises AssertionError as ``eventually`` does.

    >>> ready = iter([False, True])
    >>> trio.run(eventually_async, lambda: next(ready))
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} after {timeout_s:g} s")
        await trio.sleep(PAUSE_S)
