"""A worker that is up before an engine needs one.

A process with JAX takes a second to start, and several on a busy machine.  The shared engine takes
the spare worker where a user is separated, which keeps the old one, and where its worker has died:
so no user waits for a start.
"""

from __future__ import annotations

import logging

import trio

from jaxfs.engine.client.process import WorkerProcess
from jaxfs.engine.protocol import EngineOptions, Ready
from jaxfs.errors import RunFailed

KEPT_S = 60.0  # without a further request, then it is ended: it has 160 MiB of memory
log = logging.getLogger(__name__)


class SpareWorker:
    """One worker at most that no engine has.

    Args:
        options: How it starts.
        nursery: For the task that starts and ends it.
    """

    def __init__(self, options: EngineOptions, nursery: trio.Nursery) -> None:
        self._options = options
        self._nursery = nursery
        self._found: tuple[WorkerProcess, Ready] | None = None
        self._taken: WorkerProcess | None = None
        self._scope = trio.CancelScope()
        self._settled = trio.Event()
        self._settled.set()
        self._is_closed = False

    @property
    def pid(self) -> int:
        """The process id of the worker that is up; 0 while there is none."""
        return self._found[0].pid if self._found is not None else 0

    async def prepare(self) -> None:
        """Waits until a worker is up, or cannot be started; keeps it for ``KEPT_S`` from now on."""
        if self._found is None and self._settled.is_set() and not self._is_closed:
            self._settled = trio.Event()
            self._scope = trio.CancelScope()
            self._nursery.start_soon(self._keep, self._scope, self._settled)
        self._scope.deadline = trio.current_time() + KEPT_S
        await self._settled.wait()

    def take(self) -> tuple[WorkerProcess, Ready] | None:
        """Returns the worker that is up, which is the caller's from now on; None without one."""
        found, self._found = self._found, None
        if found is not None:
            self._taken = found[0]
            self._scope.cancel()
        return found

    def close(self) -> None:
        """Ends the worker; there will be no other one."""
        self._is_closed = True
        self._scope.cancel()

    async def _keep(self, scope: trio.CancelScope, settled: trio.Event) -> None:
        """Starts a worker and ends it when its time is over, unless it is taken before."""
        process: WorkerProcess | None = None
        try:
            with scope:
                process = WorkerProcess(self._options)
                self._found = process, await process.ready()
                settled.set()
                await trio.lowlevel.wait_readable(process.channel.sock)  # it sends nothing: it died
        except (OSError, RunFailed) as error:
            log.warning("no spare engine could be started: %s", error)
        finally:
            settled.set()
            if process is not None and process is not self._taken:
                self._found = None
                await process.end()
