"""What tests without a mount share: a few programs, and a mount that has them."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np

from jaxfs.options import Options
from jaxfs.testing import FakeCompiler, FakeEngines, InProcessMount, open_vfs

ADD = "add(x: f32[2], y: f32[2]) -> total: f32[2]"
DOUBLE = "double(x: f32[2]) -> f32[2]"
PAIR = "identity(a.w: f32[2], a.b: f32[]) -> p.w: f32[2], p.b: f32[]"
UNTYPED = "double(x)"
PARTIAL = "add(x: f32[n], y: f32[n])"
BIG = "double(x: f32[100000]) -> f32[100000]"  # 400 KB: in shared memory
ALICE, BOB = 1001, 1002


@asynccontextmanager
async def serving(
    options: Options | None = None,
    engines: FakeEngines | None = None,
    compiler: FakeCompiler | None = None,
    **sources: str | bytes,
) -> AsyncIterator[InProcessMount]:
    """A mount with these programs: ``serving(add=ADD)`` has ``programs/add``."""
    async with open_vfs(options, engines=engines, compiler=compiler) as mount:
        for name, source in sources.items():
            await mount.client.write(f"programs/{name}.mlir", source)
        yield mount


def npy_of(*values: object, dtype: str = "float32") -> bytes:
    """Arrays as .npy files, one after another."""
    file = io.BytesIO()
    for value in values:
        np.save(file, np.asarray(value, dtype))
    return file.getvalue()
