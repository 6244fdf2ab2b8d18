"""What the interrupt module adds to a request that waits.

A raw call has one at most: its write never waits, nor does its read where the reply is there.
"""

from __future__ import annotations

import time

import trio

from jaxfs.fuse import INTERRUPTS
from tests.soak.report import Figure

LOOPS = 20_000
ROUNDS = 5


async def _request_s() -> float:
    """One request's, without the C part's look at its header: a copy of 40 bytes."""
    before = time.perf_counter()
    for _ in range(LOOPS):
        with INTERRUPTS.interruptible(INTERRUPTS.current()):
            pass
    return (time.perf_counter() - before) / LOOPS


def interrupt_cost() -> list[Figure]:
    """The best of some rounds: others use the machine too."""
    best_s = min(trio.run(_request_s) for _ in range(ROUNDS))
    what = "the interrupt module, each wait (a raw call has one at most)"
    return [Figure(what, best_s * 1e6, 5, "us")]
