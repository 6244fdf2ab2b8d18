"""Threads for the codecs: one at a time for each user, beside the event loop.

Python runs one thread at a time, so each busy thread makes the event loop wait a few milliseconds
for its turn.  A user who has much parsed at once waits for its own work and delays others little.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

Result = TypeVar("Result")
_limiters = trio.lowlevel.RunVar[dict[int, trio.CapacityLimiter]]("codec_threads")


async def run_codec(uid: int, work: Callable[[], Result]) -> Result:
    """Returns the result of ``work``, done in the thread of a user.

    If the task is cancelled, for example as its writer was killed, ``work`` ends at its next
    ``checkpoint`` and Cancelled is raised.

    Args:
        uid: The user.
        work: What is to be done.
    """
    try:
        limiters = _limiters.get()
    except LookupError:
        _limiters.set(limiters := {})
    limiter = limiters.setdefault(uid, trio.CapacityLimiter(1))
    try:
        return await trio.to_thread.run_sync(work, limiter=limiter)
    finally:
        used = limiter.statistics()
        if not used.borrowed_tokens and not used.tasks_waiting:
            limiters.pop(uid, None)
