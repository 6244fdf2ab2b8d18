"""One life of the engine's process: what it has been told, and what it has not answered yet."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator

import trio

from jaxfs.engine.client.process import WorkerProcess
from jaxfs.engine.client.run import EngineRun
from jaxfs.engine.interface import Executable
from jaxfs.engine.protocol import Attach, Detach, Execute, Load, Skip, Statistics, Unload
from jaxfs.errors import Invalid, from_os_error
from jaxfs.ipc.channel import MessageTooLong
from jaxfs.ipc.shared_memory import Pool
from jaxfs.types.memory_layout import first_value
from jaxfs.types.signature import Param, Signature


class ProtocolError(Exception):
    """The engine answers what it was not asked: it is broken, or obeys somebody else."""


class WorkerConnection:
    """Sends runs, each after the segments and the executable it needs.

    Messages are handled in order, so nothing here waits for an answer.
    """

    def __init__(self, process: WorkerProcess, pool: Pool) -> None:
        self.process = process
        self.channel = process.channel
        self.in_flight: dict[int, EngineRun] = {}
        self.was_killed = False  # by us: nobody's fault
        self.was_idle = False  # and ended for that
        self.sent_at = trio.current_time()  # of the last run
        self._pool = pool
        self._attached: set[int] = set()
        self._retired: list[int] = []
        self._forgotten: list[int] = []
        self._numbers: dict[str, int] = {}  # of executables, by key
        self._loading: set[int] = set()
        self._loaded: set[int] = set()
        self._asked: set[int] = set()  # requests for statistics
        self._counter = itertools.count(1)

    def send(self, run: EngineRun) -> bool:
        """Send a run, or return False where the socket is full; then call again.

        Raises Closed when the process is gone, JaxfsError when this run cannot be sent.
        """
        sent_usec = time.monotonic_ns() // 1000  # before: a small run may begin at once
        try:
            run.reserve_output(self._pool)  # where that was not done yet
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
            if segment.number not in self._attached:
                attach = Attach(segment.number, segment.capacity)
                if not self.channel.send_nowait(attach, [segment.fd]):
                    return False
                self._attached.add(segment.number)
        return True

    def _send_load(self, run: EngineRun) -> bool:
        if run.key in self._numbers:
            return True
        number, executable = next(self._counter), run.executable
        load = Load(
            number, executable.device_ids, _nameless(executable.signature), executable.serialized
        )
        fd = os.open(executable.path, os.O_RDONLY | os.O_CLOEXEC)
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
        after = tuple(other.number for other in run.dependencies if other.number in self.in_flight)
        return self.channel.send_nowait(
            Execute(
                run.number,
                self._numbers[run.key],
                run.input_refs,
                run.output_ref,
                after,
                first_value(run.shared_as) if run.shared_as else 0,
            )
        )

    def has_loaded(self, executable: Executable) -> bool:
        """Whether the engine has said so."""
        return self._numbers.get(executable.key) in self._loaded

    def take_ended(self, number: int, inline_bytes: int | None = None) -> EngineRun:
        """A run the engine is through with, well if it answers with so many bytes.

        Raises Nonsense, as all that takes answers.
        """
        run = self.in_flight.get(number)
        if run is None or run.inputs is None:
            raise ProtocolError(f"it was not given a run {number}")
        if inline_bytes is not None and inline_bytes != run.inline_bytes:
            raise ProtocolError(f"it answers {inline_bytes} bytes instead of {run.inline_bytes}")
        return self.in_flight.pop(number)

    async def request_statistics(self, request: int) -> None:
        """Have the engine tell its statistics."""
        self._asked.add(request)
        await self.channel.send(Statistics(request))

    def statistics_arrived(self, request: int) -> None:
        """It has told them."""
        _remove(self._asked, request)

    def take_loaded(self, number: int) -> Iterator[EngineRun]:
        """An executable is there: the runs that only waited for this."""
        _remove(self._loading, number)
        self._loaded.add(number)
        return self._take_loads(number)

    def take_load_failed(self, number: int) -> Iterator[EngineRun]:
        """An executable is not there; the next run of it tries again."""
        _remove(self._loading, number)
        waiting = list(self._take_loads(number))
        self._numbers = {key: n for key, n in self._numbers.items() if n != number}
        return iter(waiting)

    def _take_loads(self, number: int) -> Iterator[EngineRun]:
        for run in tuple(self.in_flight.values()):
            if run.inputs is None and self._numbers.get(run.key) == number:
                yield self.in_flight.pop(run.number)

    def unload(self, key: str) -> None:
        """Let the engine forget an executable.  Runs under way finish."""
        number = self._numbers.get(key)
        if number is not None and self.channel.send_nowait(Unload(number)):
            del self._numbers[key]
            self._loaded.discard(number)

    def is_waiting(self, run: EngineRun) -> bool:
        """Whether a run has not begun, because what it takes the outputs of has not ended."""
        return any(other.number in self.in_flight for other in run.dependencies)

    def skip(self, run: EngineRun) -> None:
        """Have a run that waits not begun; it is ended like others where it begins all the same."""
        self.channel.send_nowait(Skip(run.number))

    def detach(self, segments: Iterable[int], sources: Iterable[int] = ()) -> None:
        """Let the engine unmap segments that are gone, and forget the arrays of sources."""
        self._retired += [number for number in segments if number in self._attached]
        self._forgotten += sources
        if not (self._retired or self._forgotten):
            return
        if self.channel.send_nowait(Detach(tuple(self._retired), tuple(self._forgotten))):
            self._attached.difference_update(self._retired)
            self._retired, self._forgotten = [], []


def _remove(expected: set[int], number: int) -> None:
    if number not in expected:
        raise ProtocolError(f"it was not asked {number}")
    expected.remove(number)


def _nameless(signature: Signature) -> Signature:
    """Types only: the names of ten thousand parameters would not fit into a message."""
    return Signature(
        tuple(Param("", param.aval, param.donated) for param in signature.inputs),
        tuple(Param("", param.aval) for param in signature.outputs),
    )
