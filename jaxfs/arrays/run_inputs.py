"""What a run takes: where each input is, or which output it will be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from jaxfs.engine.interface import Input, OutputRef, Range
from jaxfs.errors import JaxfsError


class ScheduledRun(Protocol):
    """A run that makes arrays or takes them, as far as arrays know it."""

    @property
    def number(self) -> int:
        """The engine's number of it, 0 while it waits for its turn."""

    def kill(self) -> None:
        """Cancel it, with its worker if it goes on."""

    def precedes(self, other: ScheduledRun) -> bool:
        """Whether an engine that gets both gets this one first."""


class PendingInput(Protocol):
    """An input that was not there when its run was submitted."""

    @property
    def done(self) -> trio.Event: ...

    @property
    def dependents(self) -> set[ScheduledRun]: ...

    @property
    def run(self) -> ScheduledRun | None: ...

    def now(self) -> Input: ...

    def later(self) -> OutputRef: ...

    def failure(self) -> JaxfsError | None: ...

    def release(self) -> None: ...


RunInput = Input | PendingInput


def release_inputs(inputs: Iterable[RunInput]) -> None:
    """Let go of what inputs hold."""
    for value in inputs:
        if isinstance(value, Range):
            value.segment.release()
        elif not isinstance(value, bytes):
            value.release()
