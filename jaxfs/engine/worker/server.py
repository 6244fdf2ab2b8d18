"""What the engine process does with each message.

One thread reads messages and starts runs; what does not finish at once is waited for, and its
outputs copied, in other threads.
"""

from __future__ import annotations

import errno
import os
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

from jaxfs.engine import protocol
from jaxfs.engine.worker import devices
from jaxfs.engine.worker.dependencies import Dependencies
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.engine.worker.executable import LoadedExecutable, load
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.ipc.channel import Channel, Closed

SPIN_S = 100e-6
THREADS = protocol.MAX_UNDER_WAY + 32  # no run waits for the end of another


class Server:
    """Handles one message after another until the front is gone."""

    def __init__(
        self, channel: Channel[protocol.Request], found: list[Any], residents: DeviceCache | None
    ) -> None:
        self._channel = channel
        self._devices = {device.id: device for device in found}
        self._memory = Mappings()
        self._loads: dict[int, Future[LoadedExecutable]] = {}
        self._chains = Dependencies()
        self._residents = residents
        self._expects_more = False  # a small run is often followed by another
        self._threads = ThreadPoolExecutor(THREADS, "run")
        self._handlers: dict[type, Any] = {
            protocol.Execute: self._execute,
            protocol.Attach: self._attach,
            protocol.Detach: self._detach,
            protocol.Load: self._load,
            protocol.Unload: self._unload,
            protocol.Skip: self._skip,
            protocol.Statistics: self._statistics,
        }

    def serve(self) -> None:
        """Handle messages.  Raises Closed when the front is gone."""
        while True:
            found = self._channel.receive_within(SPIN_S) if self._expects_more else None
            message, fds = found or self._channel.receive()
            self._expects_more = False
            self._handlers[type(message)](message, *fds)

    def _attach(self, message: protocol.Attach, fd: int) -> None:
        self._memory.attach(message.segment, message.capacity, fd)

    def _detach(self, message: protocol.Detach) -> None:
        for segment in message.segments:
            self._memory.detach(segment)
        if self._residents is not None:
            self._residents.drop(message.producers)

    def _load(self, message: protocol.Load, fd: int) -> None:
        self._loads[message.executable] = self._threads.submit(self._load_now, message, fd)

    def _load_now(self, message: protocol.Load, fd: int) -> LoadedExecutable:
        started = time.monotonic_ns()
        try:
            loaded = load(message, fd, [self._devices[number] for number in message.device_ids])
        except Exception as error:
            self._reply(protocol.LoadFailed(message.executable, *error_report(error)))
            raise
        self._reply(protocol.Loaded(message.executable, _usec_since(started)))
        return loaded

    def _unload(self, message: protocol.Unload) -> None:
        self._loads.pop(message.executable, None)

    def _statistics(self, message: protocol.Statistics) -> None:
        figures = devices.memory_statistics(list(self._devices.values()))
        if self._residents is not None:
            for number, found in figures.items():
                found.update(self._residents.statistics(number))
        self._reply(protocol.MemoryStatistics(message.request, figures))

    def _execute(self, message: protocol.Execute) -> None:
        loading = self._loads[message.executable]
        waits = self._chains.unfinished(message.after) if message.after else []
        if waits:
            self._chains.begin(message.run)
            self._threads.submit(self._run_after, waits, loading, message)
        elif message.after and self._chains.has_failed(message.after):
            self._fail(message.run, InputFailed())
        elif loading.done() and loading.exception() is None and loading.result().is_quick:
            self._run_here(loading.result(), message)
        else:
            self._chains.begin(message.run)
            self._threads.submit(self._run_there, loading, message)

    def _run_after(
        self,
        waits: list[Future[None]],
        loading: Future[LoadedExecutable],
        message: protocol.Execute,
    ) -> None:
        """A run that takes outputs of others, once they are there."""
        for future in waits:
            future.result()
        if self._chains.has_failed(message.after) or self._chains.take_skip(message.run):
            self._fail(message.run, InputFailed())
        else:
            self._run_there(loading, message)

    def _skip(self, message: protocol.Skip) -> None:
        self._chains.skip(message.run)

    def _run_here(self, loaded: LoadedExecutable, message: protocol.Execute) -> None:
        """Start a run, and end it too where it is through at once."""
        try:
            arguments = loaded.arguments(message, self._memory, self._residents)
            started = time.monotonic_ns()
            arrays = loaded.run(*arguments)
        except Exception as error:
            self._fail(message.run, error)
            return
        if all(array.is_ready() for array in arrays):
            self._expects_more = True
            self._finish(loaded, message, arrays, started)
        else:
            self._chains.begin(message.run)
            self._threads.submit(self._finish, loaded, message, arrays, started)

    def _run_there(self, loading: Future[LoadedExecutable], message: protocol.Execute) -> None:
        """A whole run in a thread of its own."""
        try:
            loaded = loading.result()
            arguments = loaded.arguments(message, self._memory, self._residents)
            started = time.monotonic_ns()
            arrays = loaded.run(*arguments)
        except Exception as error:
            self._fail(message.run, error)
            return
        self._finish(loaded, message, arrays, started)

    def _finish(
        self, loaded: LoadedExecutable, message: protocol.Execute, arrays: Any, started: int
    ) -> None:
        try:
            for array in arrays:
                array.block_until_ready()
            run_usec = _usec_since(started)
            outputs = loaded.collect(arrays, message, self._memory)
        except Exception as error:
            self._fail(message.run, error)
            return
        if self._residents is not None and message.keep:
            loaded.keep(arrays, message.keep, self._residents)
        self._reply(protocol.Done(message.run, run_usec, outputs, started // 1000))
        self._chains.end(message.run, well=True)

    def _fail(self, number: int, error: Exception) -> None:
        self._reply(protocol.Failed(number, *error_report(error)))
        self._chains.end(number, well=False)

    def _reply(self, message: msgspec.Struct) -> None:
        try:
            self._channel.send(message)
        except Closed:
            os._exit(0)  # nobody is left to answer to


class InputFailed(Exception):
    """A run one of whose inputs another run was to make, and did not."""

    def __str__(self) -> str:
        return protocol.INPUT_FAILED


def error_report(error: Exception) -> tuple[int, str, str]:
    """An exception as errno, one line and the full story."""
    words = str(error).strip() or type(error).__name__
    full = isinstance(error, MemoryError) or words.startswith("RESOURCE_EXHAUSTED")
    number = errno.ENOSPC if full else errno.EIO
    story = "".join(traceback.format_exception(error))
    return number, words.splitlines()[0][:1000], story[-protocol.DIAGNOSTICS_BYTES :]


def _usec_since(started_ns: int) -> int:
    return (time.monotonic_ns() - started_ns) // 1000
