"""The inputs of a run: what is in memory already, and outputs that another run has yet to make."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import trio

from jaxfs.engine.interface import Input, OutputRef, Range
from jaxfs.errors import JaxfsError


class ScheduledRun(Protocol):
    """A run of the scheduler, as far as arrays need it: one makes them, others take them."""

    @property
    def number(self) -> int:
        """The engine's number of the run; 0 while it waits in the scheduler."""
        ...

    def kill(self) -> None:
        """Cancels the run, and ends the worker if the run continues."""
        ...

    def precedes(self, other: ScheduledRun) -> bool:
        """Returns whether an engine that gets both runs gets this one first."""
        ...


class PendingInput(Protocol):
    """An input that was not in memory when its run was submitted."""

    @property
    def done(self) -> trio.Event:
        """Set when the input is there, or never will be."""
        ...

    @property
    def dependents(self) -> set[ScheduledRun]:
        """The runs that wait for what makes this input."""
        ...

    @property
    def run(self) -> ScheduledRun | None:
        """The run that makes the input."""
        ...

    def resolve(self) -> Input:
        """Returns the input, retained, once ``done`` is set.

        Raises:
            RunFailed: What makes the input failed.
            Cancelled: What makes the input was cancelled.
            OSError: There is no memory for a copy.
        """
        ...

    def output_ref(self) -> OutputRef:
        """Returns the engine's name of the input, while the run that makes it is in the engine."""
        ...

    def failure(self) -> JaxfsError | None:
        """Returns why the input will never be there, or None if it is or may come."""
        ...

    def release(self) -> None:
        """Ends this run's claim on the input."""
        ...


RunInput = Input | PendingInput


def release_inputs(inputs: Iterable[RunInput]) -> None:
    """Releases the shared memory and the claims that inputs hold."""
    for value in inputs:
        if isinstance(value, Range):
            value.segment.release()
        elif not isinstance(value, bytes):
            value.release()
