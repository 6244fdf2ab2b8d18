"""A device's context is lost: the engine ends and starts again, and the right program is blamed."""

from __future__ import annotations

import signal
import sys

import numpy as np
import pytest

from jaxfs.engine.client import process
from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.client.dispatcher import ATTEMPTS
from jaxfs.engine.client.quarantine import DEVICE_GRACE_S, GRACE_S, Quarantine
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Executable
from jaxfs.engine.protocol import DeviceFailed, EngineOptions
from jaxfs.errors import RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.testing import FakeEngines
from jaxfs.types.signature import Signature
from tests.conftest import closing_descriptors
from tests.engine import pretended
from tests.engine.conftest import Programs, call, run_with_engine, submit
from tests.unmounted import ADD, serving

ONE = EngineOptions(platform="cpu", devices=1)
ONES = np.ones(8, "f4")


@pytest.fixture(autouse=True)
def _pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "COMMAND", (sys.executable, pretended.__file__))


def test_a_lost_context_ends_the_engine_and_only_its_program_is_refused(
    programs: Programs,
) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        good = [submit(engine, programs["f32"], ONES) for _ in range(5)]
        culprit = programs.executable("f32", key="culprit")
        bad = submit(engine, culprit, np.full(8, pretended.POISON, "f4"))
        good += [submit(engine, programs["f32"], ONES) for _ in range(5)]
        outcome = await bad.outcome()
        assert isinstance(outcome.error, RunFailed)
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in outcome.error.reason
        assert "quarantined" in outcome.error.reason
        for run in good:
            assert (await run.arrays())[0].tolist() == [2.0] * 8
        assert list(engine.quarantined) == ["culprit"]
        assert engine.restarts <= ATTEMPTS
        assert "context is lost" in engine.device_fault
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2

    with closing_descriptors():
        run_with_engine(test, ONE)


def test_a_fault_of_the_machine_is_no_programs_fault(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        outcome = await submit(
            engine, programs["f32"], np.full(8, pretended.BROKEN, "f4")
        ).outcome()
        assert isinstance(outcome.error, RunFailed)
        assert "no program is at fault" in outcome.error.reason
        assert not engine.quarantined
        assert engine.restarts == ATTEMPTS
        assert (await call(engine, programs["f32"], ONES))[0][0] == 2

    run_with_engine(test, ONE)


def test_the_limits_of_the_devices_are_known_from_the_start(programs: Programs) -> None:
    async def test(engine: LocalEngine, pool: Pool) -> None:
        assert [device.bytes_limit for device in engine.devices()] == [pretended.LIMIT_BYTES]
        assert engine.devices()[0].has_own_memory

    run_with_engine(test, ONE)


def test_on_a_device_a_run_is_blamed_only_if_it_was_alone_in_a_fresh_context() -> None:
    quarantine = Quarantine()
    quarantine.shares_context = True
    for _ in range(2):  # not suspected yet, or together with another one
        quarantine.record_death({"a"}, [1], -signal.SIGABRT)
        assert quarantine.suspected_runs == {1}
        quarantine.forget_run(1)
    quarantine.record_death({"a"}, [], -signal.SIGABRT)
    assert not quarantine.quarantined
    quarantine.record_death({"a"}, [2], -signal.SIGABRT)
    quarantine.record_death({"a"}, [2], -signal.SIGABRT)
    assert not quarantine.quarantined
    quarantine.record_death({"a"}, [2], -signal.SIGABRT)
    assert "SIGABRT" in quarantine.quarantined["a"]
    assert quarantine.grace_s == DEVICE_GRACE_S > GRACE_S


def test_nobody_is_accused_on_a_device_that_all_share() -> None:
    quarantine = Quarantine()
    run = EngineRun(1, Executable("a", "/a", (0,), Signature((), ())), (), print, user=1001)
    assert quarantine.record_end([run], -signal.SIGSEGV, None) == [1001]
    quarantine.shares_context = True
    assert quarantine.record_end([run], -signal.SIGSEGV, None) == []
    assert quarantine.record_end([run], 86, DeviceFailed("no", fault="machine")) == []
    assert run.attempts == 3


async def test_health_has_the_reason_while_the_engine_starts_again() -> None:
    async with serving(add=ADD, engines=FakeEngines(platform="cuda")) as mount:
        health = "devices/cuda:0/health"
        assert await mount.client.read(health) == b"ok\n"
        mount.engine.device_fault = "INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal access"
        mount.engine.die()
        found = await mount.client.read(health)
        assert found == b"restarting: INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal access\n"
        mount.engine.restart()
        assert await mount.client.read(health) == b"ok\n"
