"""Executables that cannot be loaded: runs wait until they are repaired."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trio

from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.interface import Executable, Outcome, OutputRef, Range
from jaxfs.errors import JaxfsError, RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.cpu_features import missing_features
from jaxfs.posix.durable_files import sha256_of
from tests.engine.conftest import Programs, Submitted, run_with_engine, submit

ONES = np.ones(8, "f4")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def of_another_cpu(path: Path) -> None:
    """As if it was compiled where there is what this machine lacks."""
    (name, *_) = sorted(missing_features(frozenset({"amx-fp16", "xop", "fma4"})))
    path.write_bytes(path.read_bytes().replace(f"-{name}".encode(), f"+{name}".encode()))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip, "its checksum differs"),
    "no executable": (lambda path: path.write_bytes(b"abc"), ""),
    "empty": (lambda path: path.write_bytes(b""), ""),
    "gone": (Path.unlink, "cannot be read"),
    "of another CPU": (of_another_cpu, "made for another CPU"),
}


class Repairer:
    """Implements ``Repair`` by copying a good file, a moment later."""

    def __init__(self, good: Executable, nursery: trio.Nursery) -> None:
        self.errors: list[JaxfsError] = []
        self.error: JaxfsError | None = None
        self._good = good
        self._nursery = nursery

    def __call__(
        self,
        executable: Executable,
        error: JaxfsError,
        done: Callable[[Executable | JaxfsError], None],
    ) -> None:
        self.errors.append(error)
        self._nursery.start_soon(self._repair, executable, done)

    async def _repair(
        self, executable: Executable, done: Callable[[Executable | JaxfsError], None]
    ) -> None:
        await trio.sleep(0.05)
        if self.error is not None:
            done(self.error)
            return
        shutil.copy(self._good.path, executable.path)
        done(executable)


def chained(engine: LocalEngine, executable: Executable, value: bytes | OutputRef) -> int:
    """Submits a run that others take outputs of; returns its number."""

    def drop(outcome: Outcome) -> None:
        if isinstance(outcome.outputs, Range):
            outcome.outputs.segment.release()

    return engine.submit(executable, (value,), drop, shared_as=1)


@pytest.mark.parametrize("damage", DAMAGE)
def test_runs_wait_for_an_executable_that_is_made_again(
    damage: str, programs: Programs, tmp_path: Path
) -> None:
    if damage == "of another CPU" and platform.machine() != "x86_64":
        pytest.skip("only executables for x86-64 record such features")
    break_it, reason = DAMAGE[damage]
    path = tmp_path / "executable"
    shutil.copy(programs["f32"].path, path)
    digest = sha256_of(path) if damage != "of another CPU" else ""
    break_it(path)

    async def test(engine: LocalEngine, pool: Pool) -> None:
        async with trio.open_nursery() as nursery:
            repairer = Repairer(programs["f32"], nursery)
            engine.repair_with(repairer)
            executable = programs.executable("f32", key=damage, path=str(path), digest=digest)
            runs = [submit(engine, executable, ONES) for _ in range(5)]
            other = submit(engine, programs["f32"], ONES)
            for run in (other, *runs):
                assert (await run.arrays())[0][0] == 2
            assert len(repairer.errors) == 1
            assert reason in repairer.errors[0].reason
            await engine.load(executable)

    run_with_engine(test)


def test_runs_that_take_outputs_of_a_waiting_run_wait_too(
    programs: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "executable"
    shutil.copy(programs["f32"].path, path)
    digest = sha256_of(path)
    flip(path)

    async def test(engine: LocalEngine, pool: Pool) -> None:
        async with trio.open_nursery() as nursery:
            engine.repair_with(Repairer(programs["f32"], nursery))
            damaged = programs.executable("f32", key="damaged", path=str(path), digest=digest)
            nbytes = programs["f32"].signature.output_avals[0].nbytes
            first = chained(engine, damaged, ONES.tobytes())
            good = programs["f32"]
            second = chained(engine, good, OutputRef(first, 0, nbytes))
            third = Submitted(engine, good, [OutputRef(second, 0, nbytes)])
            assert (await third.arrays())[0][0] == 8

    run_with_engine(test)


def test_runs_fail_with_the_reason_if_there_is_no_repair(
    programs: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "executable"
    path.write_bytes(b"abc")

    async def test(engine: LocalEngine, pool: Pool) -> None:
        executable = programs.executable("f32", key="bad", path=str(path), digest="0" * 64)
        outcome = await submit(engine, executable, ONES).outcome()
        assert "its checksum differs" in str(outcome.error)
        async with trio.open_nursery() as nursery:
            repairer = Repairer(programs["f32"], nursery)
            repairer.error = RunFailed("its source is damaged")
            engine.repair_with(repairer)
            outcome = await submit(engine, executable, ONES).outcome()
            assert "its source is damaged" in str(outcome.error)
            repairer.error = None
            path.unlink()
            shutil.copy(programs["f32"].path, path)
            fine = programs.executable("f32", key="bad", path=str(path))
            assert (await submit(engine, fine, ONES).arrays())[0][0] == 2

    run_with_engine(test)
