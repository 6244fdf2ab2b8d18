"""A real engine process, and programs compiled once a session in another process."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trio

from jaxfs.engine.client.client import LocalEngine, open_local_engine
from jaxfs.engine.interface import Executable, Input, Outcome, OutputRef, Range
from jaxfs.engine.protocol import EngineOptions
from jaxfs.ipc.shared_memory import Pool
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature
from tests.conftest import HANGS_S
from tests.engine.programs import DEVICES

CPU = EngineOptions(platform="cpu", devices=DEVICES)
PLATFORM = os.environ.get("JAXFS_TEST_PLATFORM", "cpu")  # tests/gpu has tests that run on others
OPTIONS = CPU if PLATFORM == "cpu" else EngineOptions(platform=PLATFORM)
ON_A_GPU = os.environ.get("JAXFS_GPU") == "1"  # the engine compiles all programs itself
DEVICE_IDS = {"on_device_3": (3,), "spread": tuple(range(DEVICES))}


class Programs:
    """Executables by the names of ``programs.TEXTS`` and ``LINALG``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __getitem__(self, name: str) -> Executable:
        return self.executable(name, device_ids=DEVICE_IDS.get(name, (0,)))

    def executable(self, name: str, **changes: Any) -> Executable:
        text = (self.directory / f"{name}.json").read_bytes()
        signature = msgspec.json.decode(text, type=Signature)
        fields: dict[str, Any] = {"key": name, "path": str(self.directory / name)}
        fields |= {"device_ids": (0,), "serialized": not ON_A_GPU}
        return Executable(signature=signature, **{**fields, **changes})


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    directory = tmp_path_factory.mktemp("programs")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.engine.builder", str(directory)]
    subprocess.run([*command, *([PLATFORM] if ON_A_GPU else [])], cwd=root, check=True)
    return Programs(directory)


def arrays_of(executable: Executable, outcome: Outcome) -> list[np.ndarray]:
    """The outputs of a run; its segment goes back to the pool."""
    if outcome.error is not None:
        raise outcome.error
    data: bytes | memoryview
    if isinstance(outcome.outputs, Range):
        place = outcome.outputs
        data = place.segment.read(place.offset, place.nbytes)
        place.segment.release()
    else:
        data = outcome.outputs
    offsets, _ = output_offsets(executable.signature)
    avals = executable.signature.output_avals
    return [
        np.ndarray(aval.shape, aval.row.numpy, data, offset)
        for offset, aval in zip(offsets, avals, strict=True)
    ]


class Submitted:
    """One run whose outcome can be awaited."""

    def __init__(
        self, engine: LocalEngine, executable: Executable, inputs: Sequence[Input | OutputRef]
    ):
        self.executable = executable
        self.outcomes: list[Outcome] = []
        self._ended = trio.Event()
        self.number = engine.submit(executable, tuple(inputs), self._done)

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._ended.set()

    async def outcome(self) -> Outcome:
        await self._ended.wait()
        return self.outcomes[0]

    async def arrays(self) -> list[np.ndarray]:
        return arrays_of(self.executable, await self.outcome())


def submit(
    engine: LocalEngine, executable: Executable, *arrays: np.ndarray | np.generic
) -> Submitted:
    return Submitted(engine, executable, [array.tobytes() for array in arrays])


async def call(
    engine: LocalEngine, executable: Executable, *arrays: np.ndarray | np.generic
) -> Any:
    return await submit(engine, executable, *arrays).arrays()


class SharedEngine:
    """An engine for tests that do it no harm, on an event loop in a thread."""

    def __init__(self) -> None:
        self.pool = Pool()
        self._up: queue.Queue[LocalEngine | BaseException] = queue.Queue()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self._thread.start()
        engine = self._up.get()
        assert isinstance(engine, LocalEngine), engine
        self.engine = engine

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        try:
            async with open_local_engine(OPTIONS, self.pool) as engine:
                self._up.put(engine)
                await self._stop.wait()
        except BaseException as error:
            self._up.put(error)
            raise

    def run(self, function: Any, *args: Any) -> Any:
        """``await function(engine, *args)`` on the event loop."""

        async def limited() -> Any:
            with trio.fail_after(HANGS_S):
                return await function(self.engine, *args)

        return trio.from_thread.run(limited, trio_token=self._token)

    def call(self, executable: Executable, *arrays: np.ndarray | np.generic) -> list[np.ndarray]:
        found: list[np.ndarray] = self.run(call, executable, *arrays)
        return found

    def stop(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()


@pytest.fixture(scope="session")
def shared() -> Iterator[SharedEngine]:
    engine = SharedEngine()
    yield engine
    engine.stop()


def run_with_engine(test: Any, options: EngineOptions = OPTIONS) -> None:
    """``await test(engine, pool)`` with an engine of its own."""

    async def main() -> None:
        pool = Pool()
        with trio.fail_after(HANGS_S):
            async with open_local_engine(options, pool) as engine:
                await test(engine, pool)
        assert pool.used_bytes == 0
        pool.close()

    trio.run(main, strict_exception_groups=True)
