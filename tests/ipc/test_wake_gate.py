"""Tasks that wait for one event go on in portions."""

from __future__ import annotations

import itertools
import math

import pytest
import trio
import trio.testing

from jaxfs.ipc import wake_gate
from jaxfs.ipc.wake_gate import PORTION, WakeGate

WAITERS = 500


async def test_waiters_of_one_event_do_not_all_go_on_in_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wake_gate, "PORTION_S", math.inf)
    gate, event = WakeGate(), trio.Event()
    woken, seen = list[int](), [0]

    async def wait(number: int) -> None:
        await gate.wait(event)
        woken.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(WAITERS):
            nursery.start_soon(wait, number)
        await trio.testing.wait_all_tasks_blocked()
        event.set()
        while len(woken) < WAITERS:
            await trio.lowlevel.checkpoint()
            seen.append(len(woken))
    assert sorted(woken) == list(range(WAITERS))
    most = max(after - before for before, after in itertools.pairwise(seen))
    assert most <= 2 * PORTION  # those of two turns, if this task is the first of one


async def test_a_waiter_that_is_cancelled_keeps_no_other_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wake_gate, "PORTION_S", math.inf)
    gate, event, woken = WakeGate(), trio.Event(), list[int]()

    async def wait(number: int, scope: trio.CancelScope) -> None:
        with scope:
            await gate.wait(event)
            woken.append(number)

    scopes = [trio.CancelScope() for _ in range(WAITERS)]
    async with trio.open_nursery() as nursery:
        for number, scope in enumerate(scopes):
            nursery.start_soon(wait, number, scope)
        await trio.testing.wait_all_tasks_blocked()
        event.set()
        await trio.lowlevel.checkpoint()
        for scope in scopes[: WAITERS // 2]:
            scope.cancel()
    assert set(woken) >= set(range(WAITERS // 2, WAITERS))
