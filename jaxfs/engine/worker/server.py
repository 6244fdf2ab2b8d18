"""Handles the messages of the front.

One thread reads messages and starts runs; other threads wait for what does not finish at once, and
copy its outputs.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import msgspec

from jaxfs.engine import protocol
from jaxfs.engine.worker import devices
from jaxfs.engine.worker.cpu_shares import CpuShares
from jaxfs.engine.worker.dependencies import Dependencies
from jaxfs.engine.worker.executable import LoadedExecutable, load, read
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.engine.worker.slots import Slots
from jaxfs.ipc.channel import Channel, Closed
from jaxfs.ipc.spin import SpinPolicy
from jaxfs.jaxcompat import executables
from jaxfs.types.xla_errors import (
    ErrorMeaning,
    compile_error,
    explained,
    first_line,
    meaning_of,
)

SPIN_S = 100e-6
THREADS = protocol.MAX_UNDER_WAY + 32  # no run waits for the end of another


class Server:
    """Handles one message after another until the front is gone.

    It is for CPUs, which compute in shared memory; ``DeviceServer`` is for other devices.

    Args:
        channel: To the front.
        found: The devices.
    """

    def __init__(self, channel: Channel[protocol.Request], found: Sequence[jax.Device]) -> None:
        self._channel = channel
        self._devices = {device.id: device for device in found}
        self._mappings = Mappings()
        self._loads: dict[int, Future[LoadedExecutable]] = {}
        self._dependencies = Dependencies()
        shares = CpuShares()
        self._slots = {device.id: Slots(shares=shares) for device in found}
        self._is_lost = False  # the devices cannot be used any more
        self._expects_more = False  # a small run is often followed by another
        self._spin = SpinPolicy(SPIN_S)
        self._threads = ThreadPoolExecutor(THREADS, "run")
        self._handlers: dict[type, Any] = {
            protocol.Execute: self._execute,
            protocol.Attach: self._attach,
            protocol.Detach: self._detach,
            protocol.Load: self._load,
            protocol.Skip: self._skip,
            protocol.Statistics: self._statistics,
        }

    def serve(self) -> None:
        """Handles messages, one after another, as long as the front is there.

        Raises:
            Closed: The front is gone.
        """
        while True:
            found = None
            if self._expects_more:
                found = self._channel.receive_within(self._spin.take_budget())
            message, fds = found or self._channel.receive()
            self._expects_more = False
            self._handlers[type(message)](message, *fds)

    def _attach(self, message: protocol.Attach, fd: int) -> None:
        self._mappings.attach(message.segment, message.capacity, fd)

    def _detach(self, message: protocol.Detach) -> None:
        for segment in message.segments:
            self._mappings.detach(segment)

    def _load(self, message: protocol.Load, fd: int) -> None:
        self._loads[message.executable] = self._threads.submit(self._load_now, message, fd)

    def _load_now(self, message: protocol.Load, fd: int) -> LoadedExecutable:
        started = time.monotonic_ns()
        try:
            loaded = self._make(message, read(message, fd))
        except Exception as error:
            if not self._is_lost_by(error):
                self._reply(protocol.LoadFailed(message.executable, *load_report(message, error)))
            raise
        load_usec = _usec_since(started)
        figures = None if message.serialized else _figures_of(loaded.raw, load_usec)
        self._reply(protocol.Loaded(message.executable, load_usec, figures))
        return loaded

    def _make(self, message: protocol.Load, data: bytes) -> LoadedExecutable:
        found = [self._devices[number] for number in message.device_ids]
        return LoadedExecutable(load(message, data, found), message.signature, found)

    def _statistics(self, message: protocol.Statistics) -> None:
        try:
            figures = self._figures()
        except Exception as error:  # of a device that has failed
            if self._is_lost_by(error):
                return
            figures = {number: {} for number in self._devices}
        self._reply(protocol.MemoryStatistics(message.request, figures))

    def _figures(self) -> dict[int, dict[str, int]]:
        return devices.memory_statistics(list(self._devices.values()))

    def _execute(self, message: protocol.Execute) -> None:
        loading = self._loads[message.executable]
        waits = self._dependencies.unfinished(message.after) if message.after else []
        if waits:
            self._dependencies.begin(message.run)
            self._threads.submit(self._run_after, waits, loading, message)
        elif message.after and self._dependencies.has_failed(message.after):
            self._fail(message.run, InputFailed())
        elif loading.done() and loading.exception() is None and loading.result().is_quick:
            self._run_here(loading.result(), message)
        else:
            self._dependencies.begin(message.run)
            self._threads.submit(self._run_there, loading, message)

    def _run_after(
        self,
        waits: list[Future[None]],
        loading: Future[LoadedExecutable],
        message: protocol.Execute,
    ) -> None:
        """Runs what takes outputs of other runs, when these have ended."""
        for future in waits:
            future.result()
        if self._dependencies.has_failed(message.after) or self._dependencies.take_skip(
            message.run
        ):
            self._fail(message.run, InputFailed())
        else:
            self._run_there(loading, message)

    def _skip(self, message: protocol.Skip) -> None:
        self._dependencies.skip(message.run)

    def _run_here(self, loaded: LoadedExecutable, message: protocol.Execute) -> None:
        """Starts a run in this thread, and ends it too if it is finished at once."""
        try:
            arguments = loaded.arguments(message, self._mappings)
            started = time.monotonic_ns()
            arrays = loaded.run(*arguments)
        except Exception as error:
            self._fail(message.run, error)
            return
        if all(array.is_ready() for array in arrays):  # type: ignore[attr-defined]  # no stub
            self._expects_more = True
            self._finish(loaded, message, arrays, started)
        else:
            self._dependencies.begin(message.run)
            self._threads.submit(self._finish, loaded, message, arrays, started)

    def _run_there(self, loading: Future[LoadedExecutable], message: protocol.Execute) -> None:
        """Does a whole run in another thread."""
        try:
            loaded = loading.result()
            arguments = loaded.arguments(message, self._mappings)
            with self._slot(loaded, message.user):
                started = time.monotonic_ns()
                arrays = loaded.run(*arguments)
                self._finish(loaded, message, arrays, started)  # to copy takes processors too
        except Exception as error:
            self._fail(message.run, error)

    def _slot(self, loaded: LoadedExecutable, user: int) -> contextlib.AbstractContextManager[None]:
        """Returns what a run holds while it is in XLA; programs of several devices take turns."""
        if len(loaded.device_ids) > 1:
            return contextlib.nullcontext()
        return self._slots[loaded.device_ids[0]].hold(user, loaded.weight)

    def _finish(
        self,
        loaded: LoadedExecutable,
        message: protocol.Execute,
        arrays: Sequence[jax.Array],
        started: int,
    ) -> None:
        try:
            for array in arrays:
                array.block_until_ready()
            run_usec = _usec_since(started)
            outputs = loaded.collect(arrays, message, self._mappings)
        except Exception as error:
            self._fail(message.run, error)
            return
        self._reply(protocol.Done(message.run, run_usec, outputs, started // 1000))
        self._dependencies.end(message.run, well=True)

    def _fail(self, number: int, error: Exception) -> None:
        if not self._is_lost_by(error):
            self._reply(protocol.Failed(number, *error_report(error)))
            self._dependencies.end(number, well=False)

    def _is_lost_by(self, error: Exception) -> bool:
        """Ends the process if an error means that the devices cannot be used any more.

        The runs under way are not answered: the front starts them again in another process.

        Returns:
            Whether another thread does that now, so that the error follows from the loss.
        """
        meaning = meaning_of_error(error)
        if meaning.ends_worker:
            self._is_lost = True
            _, reason, diagnostics = error_report(error)
            self._reply(protocol.DeviceFailed(reason, diagnostics, meaning.fault))
            os._exit(protocol.DEVICE_FAILED)
        return self._is_lost

    def _reply(self, message: msgspec.Struct) -> None:
        """Sends an answer; ends the process if the front is gone.

        It may be called from a run's thread, where an exception would not reach the main thread.
        """
        try:
            self._channel.send(message)
        except Closed:
            os._exit(0)  # the front is gone


class InputFailed(Exception):
    """A run that was to make one of the inputs has failed."""

    def __str__(self) -> str:
        return protocol.INPUT_FAILED


def error_report(error: Exception) -> tuple[int, str, str]:
    """Returns an exception as errno, reason and diagnostics of a message.

    >>> error_report(ValueError("RESOURCE_EXHAUSTED: out of memory"))[:2]
    (28, 'RESOURCE_EXHAUSTED: out of memory; there is no memory for it; use smaller arrays, or \
wait until other runs have ended')
    """
    text = str(error).strip() or type(error).__name__
    meaning = meaning_of_error(error)
    reason = explained(text) if meaning.words else first_line(text)
    return meaning.errno, reason, _trace(error)


def meaning_of_error(error: Exception) -> ErrorMeaning:
    """Returns what an error of any kind means, by the table for XLA's; only those end the worker.

    >>> meaning_of_error(MemoryError()).name, meaning_of_error(OSError("DATA_LOSS")).name
    ('memory', 'other')
    """
    if isinstance(error, MemoryError):
        return meaning_of("RESOURCE_EXHAUSTED")
    if isinstance(error, jax.errors.JaxRuntimeError):
        return meaning_of(str(error))
    is_full = isinstance(error, ValueError) and str(error).startswith("RESOURCE_EXHAUSTED")
    return meaning_of("RESOURCE_EXHAUSTED" if is_full else "")


def load_report(message: protocol.Load, error: Exception) -> tuple[int, str, str]:
    """Returns why something cannot be loaded, as ``error_report``.

    An artifact that XLA does not compile is a bad program, and no failure of the run.
    """
    if message.serialized or not isinstance(error, jax.errors.JaxRuntimeError):
        return error_report(error)
    refusal = compile_error(str(error))
    return refusal.errno, refusal.reason, _trace(error)


def _figures_of(raw: Any, compile_usec: int) -> protocol.CompileFigures:
    """Returns what XLA reports of an executable; platforms lack one analysis or another."""
    figures = protocol.CompileFigures(compile_usec)
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        figures = msgspec.structs.replace(figures, cost=executables.cost_figures(raw))
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        figures = msgspec.structs.replace(figures, memory=executables.memory_figures(raw))
    return figures


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-protocol.DIAGNOSTICS_BYTES :]


def _usec_since(started_ns: int) -> int:
    return (time.monotonic_ns() - started_ns) // 1000
