"""What the worker itself compiles has a deadline."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from jaxfs.engine.client.client import open_local_engine
from jaxfs.engine.interface import Executable
from jaxfs.errors import TimedOut
from jaxfs.ipc.shared_memory import Pool
from tests.engine.conftest import CPU, Programs, call


def artifact_of(programs: Programs, name: str) -> Executable:
    path = str(programs.directory / f"{name}.artifact")
    found = programs.executable(name, key=f"{name} artifact", path=path)
    return msgspec.structs.replace(found, serialized=False)


async def test_a_worker_that_does_not_end_a_compile_is_started_again(programs: Programs) -> None:
    artifact = artifact_of(programs, "f32")
    async with open_local_engine(CPU, Pool()) as engine:
        with pytest.raises(TimedOut, match=r"in 1e-06 s \(-o compile_timeout\).*started again"):
            await engine.load(artifact, 1e-6)
        x = np.arange(8, dtype=np.float32)
        await engine.load(artifact, 60)
        await call(engine, artifact, *[x] * len(artifact.signature.inputs))
        assert engine.restarts == 1
