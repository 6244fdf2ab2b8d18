"""A worker that is up before it is needed: no user waits for the start of a process."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
import trio

from jaxfs.engine.client import spare_worker
from jaxfs.engine.client.engines import SharedEngine
from jaxfs.engine.client.spare_worker import SpareWorker
from jaxfs.testing import eventually_async
from tests.engine.conftest import Programs
from tests.engine.test_sharing import ALICE, BOB, ENDLESS, ONES, Users, with_users


def spare_of(engines: SharedEngine) -> SpareWorker:
    return engines._spare


def is_pid(users: Users, pid: int) -> bool:
    return users.shared.pid == pid


def children() -> set[int]:
    """The process ids of this process's children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(map(int, file.read().split()))


def test_a_quiet_mount_has_no_spare_worker(programs: Programs) -> None:
    async def test(users: Users) -> None:
        before = children()
        assert (await users.run(ALICE, "f32", ONES).array())[0] == 2
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2
        assert spare_of(users.engines).pid == 0
        assert children() == before

    with_users(programs, test)


def test_who_is_left_by_a_separated_user_goes_on_in_the_spare_worker(programs: Programs) -> None:
    async def test(users: Users) -> None:
        endless = users.run(ALICE, "count_to_zero", ENDLESS)
        await users.shared.statistics()
        old = users.shared.pid
        await users.engines.prepare()
        spare = spare_of(users.engines).pid
        assert spare not in (0, old)
        before = children()
        separate = users.separate(ALICE)
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2
        assert (users.shared.pid, separate.pid) == (spare, old)
        assert children() == before, "no process was started meanwhile"
        assert spare_of(users.engines).pid == 0
        assert not endless.outcomes

    with_users(programs, test)


def test_the_spare_worker_replaces_one_that_died(programs: Programs) -> None:
    async def test(users: Users) -> None:
        for _ in range(2):
            await users.engines.prepare()
            spare = spare_of(users.engines).pid
            os.kill(users.shared.pid, signal.SIGKILL)
            await eventually_async(partial(is_pid, users, spare))
            assert (await users.run(BOB, "f32", ONES).array())[0] == 2

    with_users(programs, test)


def test_a_spare_worker_that_died_is_not_used(programs: Programs) -> None:
    async def test(users: Users) -> None:
        spare = spare_of(users.engines)
        await users.engines.prepare()
        dead = spare.pid
        os.kill(dead, signal.SIGKILL)
        await eventually_async(lambda: spare.pid == 0)
        await users.engines.prepare()
        assert spare.pid not in (0, dead)
        users.separate(ALICE)
        assert (await users.run(BOB, "f32", ONES).array())[0] == 2

    with_users(programs, test)


def test_there_is_one_spare_worker_at_most(programs: Programs) -> None:
    async def test(users: Users) -> None:
        before = children()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(users.engines.prepare)
        assert children() - before == {spare_of(users.engines).pid}

    with_users(programs, test)


def test_a_spare_worker_that_nothing_needs_is_ended(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(users: Users) -> None:
        before = children()
        await users.engines.prepare()
        monkeypatch.setattr(spare_worker, "KEPT_S", 0.1)
        await users.engines.prepare()
        await eventually_async(lambda: children() == before)
        assert spare_of(users.engines).pid == 0

    with_users(programs, test)


def test_a_spare_worker_ends_with_the_mount(programs: Programs) -> None:
    found = list[int]()

    async def test(users: Users) -> None:
        before = children()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(users.engines.prepare)
            await eventually_async(lambda: children() > before)
            found.extend(children() - before)  # it is starting
            nursery.cancel_scope.cancel()
        await users.engines.prepare()
        found.append(spare_of(users.engines).pid)

    with_users(programs, test)
    assert len(set(found)) == 1
    for pid in found:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
