"""Runs that wait until an executable that the worker cannot load was made again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Executable, Repair
from jaxfs.errors import JaxfsError


class LoadRepairs:
    """The repairs of one dispatcher that are under way, and the runs that wait for them.

    Args:
        queue: The dispatcher's: runs go back there, before all others.
        fail: Ends a run with an error.
        pump: Sends what is queued.

    Attributes:
        repair: Makes an executable again; None if that is not possible.
        held: The runs that wait, by number.
        under_way: The keys of the executables.
    """

    def __init__(
        self,
        queue: OrderedDict[int, EngineRun],
        fail: Callable[[EngineRun, JaxfsError], None],
        pump: Callable[[], None],
    ) -> None:
        self.repair: Repair | None = None
        self.held: dict[int, EngineRun] = {}
        self.under_way: set[str] = set()
        self._queue = queue
        self._fail = fail
        self._pump = pump

    def fail_load(self, run: EngineRun, error: JaxfsError) -> None:
        """Holds a run while its executable is repaired; fails it if there is no repair."""
        if self.repair is None:
            self._fail(run, error)
            return
        self.begin(run.executable, error)
        self.hold(run)

    def begin(self, executable: Executable, error: JaxfsError) -> None:
        """Begins the repair of an executable, unless it is under way or not possible."""
        if self.repair is not None and executable.key not in self.under_way:
            self.under_way.add(executable.key)
            self.repair(executable, error, partial(self._end, executable.key))

    def _end(self, key: str, outcome: Executable | JaxfsError) -> None:
        """Sends the runs that waited for an executable, or fails them."""
        self.under_way.discard(key)
        for run in [run for run in self.held.values() if run.key == key]:
            if isinstance(outcome, Executable):
                run.executable = outcome
            else:
                del self.held[run.number]
                run.is_held = False
                self._fail(run, outcome)
        self._requeue_ready()
        self._pump()

    def end_all(self) -> None:
        """Queues all runs again: there will be no worker for now."""
        self.under_way.clear()
        self._requeue_ready()

    def must_hold(self, run: EngineRun) -> bool:
        """Returns whether a repair is in the way of a run, or of one that makes its inputs."""
        return run.key in self.under_way or any(other.is_held for other in run.dependencies)

    def hold(self, run: EngineRun) -> None:
        """Keeps a run that the worker does not have, until no repair is in its way."""
        self._queue.pop(run.number, None)
        self.held[run.number] = run
        run.is_held = True
        self._requeue_ready()  # the repair may have ended before the worker's answer

    def _requeue_ready(self) -> None:
        """Puts the runs that can be sent before all others in the queue, in order."""
        ready = list[EngineRun]()
        for _, run in sorted(self.held.items()):  # a run depends on earlier ones only
            run.is_held = self.must_hold(run)
            if not run.is_held:
                ready.append(run)
        for run in reversed(ready):
            del self.held[run.number]
            self._queue[run.number] = run
            self._queue.move_to_end(run.number, last=False)
