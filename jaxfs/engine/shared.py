"""One engine for all users: the usual case."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jaxfs.engine.client import LocalEngine, open_local_engine
from jaxfs.engine.interface import Engine
from jaxfs.engine.protocol import Device, Options
from jaxfs.ipc.shared_memory import Pool


class SharedEngine:
    """Implements ``interface.Engines`` with the same engine for everybody."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine

    @property
    def toolchain(self) -> str:
        return self._engine.toolchain

    def devices(self) -> tuple[Device, ...]:
        return self._engine.devices()

    def of(self, uid: int) -> Engine:
        return self._engine

    def all(self) -> tuple[Engine, ...]:
        return (self._engine,)


@asynccontextmanager
async def open_shared(options: Options) -> AsyncIterator[SharedEngine]:
    """One engine that is ready, with its pool, ended on the way out."""
    pool = Pool()
    async with open_local_engine(options, pool) as engine:
        yield SharedEngine(engine)
    pool.close()
