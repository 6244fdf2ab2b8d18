"""What compiles may be deadly when it runs: the engine comes back, and others are served."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.interface import Executable
from jaxfs.errors import Cancelled, JaxfsError
from jaxfs.testing import eventually_async
from jaxfs.types.avals import Aval
from tests.compiler.conftest import BlockingTracer
from tests.engine.conftest import SharedEngine, Submitted, arrays_of
from tests.hostile.case import ACCEPTED, Case, Stop
from tests.hostile.conftest import GOOD, attempt
from tests.hostile.corpus import CASES

COMPILES = [name for name, case in CASES.items() if case.stop in ACCEPTED]
ENDLESS = [name for name in COMPILES if CASES[name].stop is Stop.ENGINE and not CASES[name].errno]
ENDING = [name for name in COMPILES if name not in ENDLESS]
DEADLY = ("sort_inconsistent",)
QUARANTINED = "quarantined: the engine died 2 times while running this program"


class Workshop:
    """Compiles cases and runs them."""

    def __init__(self, tracer: BlockingTracer, engine: SharedEngine, directory: Path) -> None:
        self._tracer, self.shared, self._directory = tracer, engine, directory
        self._good = self._build("good", Case("a good one", GOOD, Stop.NOBODY))

    def _build(self, name: str, case: Case) -> Executable:
        tried = self._tracer.run(attempt, case)
        assert tried.error is None, tried.error
        path = self._directory / name
        path.write_bytes(tried.executable)
        return Executable(name, str(path), (0,), tried.signature)

    def build(self, name: str) -> Executable:
        return self._build(name, CASES[name])

    async def good(self, engine: LocalEngine) -> None:
        """Another program is served, on time."""
        run = Submitted(engine, self._good, [np.arange(4, dtype="f4").tobytes()])
        assert (await run.arrays())[0].tolist() == [0, -1, -2, -3]


@pytest.fixture(scope="module")
def workshop(
    hostile: BlockingTracer, victim: SharedEngine, tmp_path_factory: pytest.TempPathFactory
) -> Workshop:
    return Workshop(hostile, victim, tmp_path_factory.mktemp("executables"))


def noise(aval: Aval) -> bytes:
    """Input: numbers in no order where they are f32, else zeros."""
    if aval.dtype != "f32":
        return bytes(aval.nbytes)
    return np.random.RandomState(0).randn(aval.size).astype("f4").tobytes()


async def run(engine: LocalEngine, executable: Executable) -> JaxfsError | None:
    inputs = [noise(aval) for aval in executable.signature.input_avals]
    outcome = await Submitted(engine, executable, inputs).outcome()
    if outcome.error is None:
        arrays_of(executable, outcome)  # gives the memory back
    return outcome.error


@pytest.mark.parametrize("name", ENDING)
def test_accepted_program_ends_as_its_row_says_and_others_are_served(
    workshop: Workshop, name: str
) -> None:
    case, executable = CASES[name], workshop.build(name)
    restarts = workshop.shared.engine.restarts
    error = workshop.shared.run(run, executable)
    assert (error.errno if error else 0) == case.errno, error
    assert case.reason in (error.reason if error else "")
    assert (workshop.shared.engine.restarts > restarts) == (name in DEADLY)
    workshop.shared.run(workshop.good)


@pytest.mark.parametrize("name", DEADLY)
def test_program_that_kills_the_engine_is_quarantined(workshop: Workshop, name: str) -> None:
    executable = workshop.build(name)
    workshop.shared.run(run, executable)
    restarts = workshop.shared.engine.restarts
    error = workshop.shared.run(run, executable)
    assert error.errno == errno.EIO
    assert error.reason.startswith(QUARANTINED)
    assert workshop.shared.engine.quarantined[name] == error.reason
    assert workshop.shared.engine.restarts == restarts, "it was run again"
    workshop.shared.run(workshop.good)


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_program_stops_nobody_and_can_be_ended(workshop: Workshop, name: str) -> None:
    executable = workshop.build(name)

    async def test(engine: LocalEngine) -> None:
        inputs = [noise(aval) for aval in executable.signature.input_avals]
        endless = Submitted(engine, executable, inputs)
        await workshop.good(engine)
        assert not endless.outcomes
        restarts = engine.restarts
        engine.cancel(endless.number, kill=True)
        assert isinstance((await endless.outcome()).error, Cancelled)
        await eventually_async(lambda: engine.restarts != restarts and engine.state == "ready")
        await workshop.good(engine)
        assert name not in engine.quarantined

    workshop.shared.run(test)
