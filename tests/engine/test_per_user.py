"""Engines that start at need, end when idle, and run as another user."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import trio
import trio.testing

from jaxfs.engine.client import client, process
from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.client.engines import UserEngines, open_per_user, open_shared
from jaxfs.errors import RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.privileges import User, environment
from jaxfs.posix.stderr_log import MAX_BYTES, StderrLog
from jaxfs.testing import eventually_async
from tests.conftest import HANGS_S
from tests.engine.conftest import CPU, Programs, call, submit

ONES = np.ones(8, "f4")
ALICE, BOB = 20001, 20002
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="other users need root")


def with_lazy_engine(test: Callable[[LocalEngine], Awaitable[None]], idle_s: float) -> None:
    async def main() -> None:
        engine = LocalEngine(CPU, Pool(), idle_s)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            with trio.fail_after(HANGS_S):
                await test(engine)
            await engine.close()

    trio.run(main, strict_exception_groups=True)


async def gone(engine: LocalEngine) -> None:
    await eventually_async(lambda: engine.state == "idle")


def test_an_engine_starts_at_need_ends_when_idle_and_comes_back(programs: Programs) -> None:
    async def test(engine: LocalEngine) -> None:
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.state, engine.pid) == ("idle", 0)
        pids = set()
        for _ in range(2):
            assert (await call(engine, programs["f32"], ONES))[0][0] == 2
            pids.add(engine.pid)
            await gone(engine)
            assert engine.pid == 0
        assert len(pids) == 2
        assert engine.restarts == 0

    with_lazy_engine(test, idle_s=0.1)


def test_an_idle_engine_stays_away_after_a_load(programs: Programs) -> None:
    async def test(engine: LocalEngine) -> None:
        for _ in range(2):
            await engine.load(programs["f32"])
        await gone(engine)
        await trio.testing.wait_all_tasks_blocked()
        assert (engine.state, engine.pid) == ("idle", 0)

    with_lazy_engine(test, idle_s=0.1)


def test_an_engine_that_works_does_not_count_as_idle(programs: Programs) -> None:
    async def test(engine: LocalEngine) -> None:
        endless = submit(engine, programs["count_to_zero"], np.int32(1))
        await eventually_async(lambda: engine.pid != 0)
        pid = engine.pid
        await trio.sleep(0.3)
        assert not endless.outcomes
        assert engine.pid == pid
        engine.cancel(endless.number, kill=True)
        await gone(engine)

    with_lazy_engine(test, idle_s=0.05)


def test_an_engine_that_could_not_start_is_tried_again_later(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "PAUSE_S", 0)
    works = process.COMMAND

    async def test(engine: LocalEngine) -> None:
        for _ in range(2):  # the second within the pause
            with pytest.raises(RunFailed):
                await call(engine, programs["f32"], ONES)
        assert engine.state == "failed"
        monkeypatch.setattr(client, "RETRY_S", 0)
        monkeypatch.setattr(process, "COMMAND", works)
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2

    monkeypatch.setattr(process, "COMMAND", ("/bin/false",))
    with_lazy_engine(test, idle_s=60)


async def engines_of_two(programs: Programs, engines: UserEngines) -> None:
    alice, bob = (engines.of(uid) for uid in (ALICE, BOB))
    assert alice is engines.of(ALICE)
    assert alice.pool is not bob.pool
    assert (alice.pid, bob.pid) == (0, 0)
    assert isinstance(alice, LocalEngine)
    saved = np.load(programs.directory / "eigh.npz")
    found = await call(alice, programs["eigh"], saved["in0"])
    np.testing.assert_allclose(found[0], saved["out0"], rtol=1e-12)
    assert os.stat(f"/proc/{alice.pid}/mem").st_uid == 0, "other processes of hers may look in"
    assert (bob.pid, engines.all()[0].pid != 0) == (0, True)
    assert [device.id for device in engines.devices()] == [d.id for d in alice.devices()]


@needs_root
def test_another_users_engine_runs_what_needs_libraries(programs: Programs) -> None:
    """Also where that user could not read the interpreter's files."""

    async def main() -> None:
        with trio.fail_after(HANGS_S):
            async with open_per_user(CPU, os.getuid(), 60) as engines:
                await engines_of_two(programs, engines)

    trio.run(main)


def test_by_default_all_users_have_the_same_engine() -> None:
    async def main() -> None:
        with trio.fail_after(HANGS_S):
            async with open_shared(CPU) as engines:
                assert engines.of(ALICE) is engines.of(BOB)
                assert engines.all() == (engines.of(0),)
                assert engines.of(ALICE).pid != 0

    trio.run(main)


def test_an_engines_environment_is_not_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=")
    found = environment(User(ALICE, ALICE, (), "/home/alice"))
    assert found["HOME"] == "/home/alice"
    assert found["XLA_FLAGS"] == "--xla_dump_to="
    assert "SECRET_TOKEN" not in found


def test_what_an_engine_writes_comes_into_the_log_up_to_a_limit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        words = StderrLog(ALICE)
        os.write(words.child_end, b"one\n\x1b[2Jtwo\nthr")
        os.set_blocking(words.child_end, False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(words.listen)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(BrokenPipeError):
                await _write_pages(words.child_end, MAX_BYTES)
        os.close(words.child_end)

    caplog.set_level(logging.INFO)
    trio.run(main)
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == f"the engine of uid {ALICE} says: one"
    assert told[1].endswith(r"says: \x1b[2Jtwo")
    assert sum(map(len, told)) < 2 * MAX_BYTES


async def _write_pages(fd: int, count: int) -> None:
    """Write that many lines of 4 KiB, and let the reader read where the pipe is full."""
    for _ in range(count):
        try:
            os.write(fd, b"x" * 4095 + b"\n")
        except BlockingIOError:
            await trio.testing.wait_all_tasks_blocked()


def test_a_known_user_has_the_groups_the_system_knows() -> None:
    user = User.known_as(0)
    assert (user.uid, user.gid) == (0, 0)
    assert 0 not in user.groups
    assert Path(user.home).is_absolute()
    assert User.known_as(3_999_999_999) == User(3_999_999_999, 3_999_999_999, (), "/")


def test_nothing_heavy_is_imported_before_a_worker_gives_up_its_rights() -> None:
    code = (
        "import os, sys\n"
        "import jaxfs.engine.worker.user_main\n"
        "roots = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(roots & {'trio', 'numpy', 'jax', 'ml_dtypes', 'attrs', 'pyfuse3', 'ssl'}))\n"
        "print(len(os.listdir('/proc/self/task')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n1\n"
