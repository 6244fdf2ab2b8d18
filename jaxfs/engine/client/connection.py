"""The front's side of one worker process: what was sent, and what is not answered yet."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

import trio

from jaxfs.engine.client.process import WorkerProcess
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Executable
from jaxfs.engine.protocol import Attach, Detach, DeviceFailed, Execute, Load, Skip, Statistics
from jaxfs.errors import Invalid, RunFailed, from_os_error
from jaxfs.ipc.channel import MessageTooLong
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.durable_files import open_regular
from jaxfs.types.memory_layout import first_value
from jaxfs.types.signature import Param, Signature


class ProtocolError(Exception):
    """The worker answers what it was not asked: it is broken, or under a user's control."""


class CannotLoad(RunFailed):
    """The file of an executable cannot be loaded."""


class WorkerConnection:
    """Sends runs, each after the segments and the executable it needs.

    The worker handles messages in order, so nothing here waits for an answer.  What takes answers
    raises ProtocolError for those that do not fit what was sent.

    Attributes:
        process: The worker.
        channel: The socket to it.
        in_flight: The runs that were sent and are not answered yet, by number, oldest first.
        was_killed: Whether we ended the process: no program is to blame.
        was_idle: Whether we ended it because there was nothing to do.
        device_failure: What it reported when it ended because it cannot use its devices.
        sent_at: When the last run was sent, in trio's time.
        scope: Cancelled where another engine takes the worker over.
    """

    def __init__(self, process: WorkerProcess, pool: Pool) -> None:
        self.process = process
        self.channel = process.channel
        self.in_flight: dict[int, EngineRun] = {}
        self.was_killed = False
        self.was_idle = False
        self.device_failure: DeviceFailed | None = None
        self.sent_at = trio.current_time()
        self.scope = trio.CancelScope()
        self._pool = pool
        self._mapped = pool.add_worker()
        self._numbers: dict[str, int] = {}  # of executables, by key
        self._loading: set[int] = set()
        self._loaded: set[int] = set()
        self._statistics_requests: set[int] = set()
        self._counter = itertools.count(1)

    def send(self, run: EngineRun) -> bool:
        """Sends a run; returns False if the socket is full: call again when there is room.

        Raises:
            Closed: The process has ended.
            JaxfsError: This run cannot be sent.
        """
        sent_usec = time.monotonic_ns() // 1000  # before: a small run may begin at once
        try:
            run.reserve_output(self._pool)  # unless it has been done
            sent = self._send_segments(run) and self._send_load(run) and self._send_execute(run)
        except OSError as error:
            raise from_os_error(error, "handing the run to the engine") from error
        except MessageTooLong as error:
            raise Invalid(f"the program has too many inputs: a call takes {error} bytes") from error
        if sent:
            run.sent_usec = sent_usec
            self.in_flight[run.number] = run
            self.sent_at = trio.current_time()
        return sent

    def _send_segments(self, run: EngineRun) -> bool:
        for segment in run.segments:
            if segment.number not in self._mapped.segments:
                attach = Attach(segment.number, segment.capacity)
                if not self.channel.send_nowait(attach, [segment.fd]):
                    return False
                self._mapped.segments.add(segment.number)
        return True

    def _send_load(self, run: EngineRun) -> bool:
        if run.key in self._numbers:
            return True
        number, executable = next(self._counter), run.executable
        load = Load(
            number,
            executable.device_ids,
            _without_names(executable.signature),
            executable.serialized,
            executable.digest,
        )
        try:
            fd = open_regular(executable.path)
        except OSError as error:
            raise CannotLoad(f"{executable.path} cannot be read: {error.strerror}") from error
        try:
            sent = self.channel.send_nowait(load, [fd])
        finally:
            os.close(fd)
        if sent:
            self._numbers[run.key] = number
            self._loading.add(number)
        return sent

    def _send_execute(self, run: EngineRun) -> bool:
        if run.inputs is None:
            return True
        return self.channel.send_nowait(
            Execute(
                run.number,
                self._numbers[run.key],
                run.input_refs,
                run.output_ref,
                tuple(other.number for other in run.dependencies if other.number in self.in_flight),
                first_value(run.shared_as) if run.shared_as else 0,
                run.user,
            )
        )

    def has_loaded(self, executable: Executable) -> bool:
        """Returns whether the worker has confirmed that the executable is loaded."""
        return self._numbers.get(executable.key) in self._loaded

    def take_ended(self, number: int, inline_bytes: int | None = None) -> EngineRun:
        """Removes a run that the worker has answered, and returns it.

        Args:
            number: The run.
            inline_bytes: How many bytes of outputs are in the answer; None after a failure.
        """
        run = self.in_flight.get(number)
        if run is None or run.inputs is None:
            raise ProtocolError(f"it was not given a run {number}")
        if inline_bytes is not None and inline_bytes != run.inline_bytes:
            raise ProtocolError(f"it answers {inline_bytes} bytes instead of {run.inline_bytes}")
        return self.in_flight.pop(number)

    async def request_statistics(self, request: int) -> None:
        """Asks for memory figures; the answer carries the number of the request.

        Raises:
            Closed: The worker is gone.
        """
        self._statistics_requests.add(request)
        await self.channel.send(Statistics(request))

    def statistics_arrived(self, request: int) -> None:
        """Checks that the figures were asked for.

        Raises:
            ProtocolError: They were not.
        """
        _remove(self._statistics_requests, request)

    def is_loading(self, run: EngineRun) -> bool:
        """Returns whether the worker is still loading what a run needs."""
        return self._numbers.get(run.key) in self._loading

    def take_loaded(self, number: int) -> Iterator[EngineRun]:
        """Records that an executable is loaded; yields the runs that only waited for this.

        Raises:
            ProtocolError: It was not being loaded.
        """
        _remove(self._loading, number)
        self._loaded.add(number)
        return self._take_loads(number)

    def take_load_failed(self, number: int) -> tuple[list[EngineRun], list[EngineRun]]:
        """Records that an executable cannot be loaded; the next run of it tries again.

        Returns:
            The runs that only waited for this, and those that will fail by it.

        Raises:
            ProtocolError: It was not being loaded.
        """
        _remove(self._loading, number)
        waiting = list(self._take_loads(number))
        runs = self.in_flight.values()
        failing = [run for run in runs if self._numbers.get(run.key) == number]
        self._numbers = {key: n for key, n in self._numbers.items() if n != number}
        return waiting, failing

    def _take_loads(self, number: int) -> Iterator[EngineRun]:
        for run in tuple(self.in_flight.values()):
            if run.inputs is None and self._numbers.get(run.key) == number:
                yield self.in_flight.pop(run.number)

    def is_waiting(self, run: EngineRun) -> bool:
        """Returns whether a run has not begun, because a run it depends on has not ended."""
        return any(other.number in self.in_flight for other in run.dependencies)

    def skip(self, run: EngineRun) -> None:
        """Asks the worker not to begin a run that waits.

        If it begins all the same, its answer ends it like any other.

        Raises:
            Closed: The worker is gone.
        """
        self.channel.send_nowait(Skip(run.number))

    def detach(self) -> None:
        """Makes the worker unmap segments that are gone, and forget the arrays of producers."""
        mapped = self._mapped
        if not (mapped.retired or mapped.forgotten):
            return
        if self.channel.send_nowait(Detach(tuple(mapped.retired), tuple(mapped.forgotten))):
            mapped.detached()

    async def end(self, *, terminate_first: bool = False) -> int:
        """Ends the process, and returns its exit status as ``WorkerProcess.end``."""
        self._pool.remove_worker(self._mapped)
        return await self.process.end(terminate_first=terminate_first)


def _remove(expected: set[int], number: int) -> None:
    """Removes the number of a request that the worker has answered.

    Raises:
        ProtocolError: The worker answers what it was not asked, or answers twice.
    """
    if number not in expected:
        raise ProtocolError(f"it was not asked {number}")
    expected.remove(number)


def _without_names(signature: Signature) -> Signature:
    """Returns the types only: the names of ten thousand parameters would not fit into a message."""
    return Signature(
        tuple(Param("", param.aval, param.donated) for param in signature.inputs),
        tuple(Param("", param.aval) for param in signature.outputs),
    )
