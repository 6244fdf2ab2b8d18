"""One engine for all users: the usual case."""

from __future__ import annotations

from jaxfs.engine.client import LocalEngine
from jaxfs.engine.interface import Engine
from jaxfs.engine.protocol import Device


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
