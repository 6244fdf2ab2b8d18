"""Handles the messages of the front for devices with memory of their own: GPUs, TPUs.

Their memory, their link to the host and their one stream are shared by all runs, so that here

- a small run is started by the thread that reads messages only where that cannot wait: it holds one
  of the device's slots, fewer than the computations that XLA takes before it lets callers wait, and
  memory was not short lately: XLA waits for it;
- arrays that stay on a device give way to runs, and a run that found no memory is tried once more;
- the memory of the host that transfers take is bounded;
- outputs of a run are copied to the host all at once.

Only the worker imports this module.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import attrs
import jax

from jaxfs.engine import protocol
from jaxfs.engine.worker import devices
from jaxfs.engine.worker.device_executable import Cache, DeviceExecutable
from jaxfs.engine.worker.executable import LoadedExecutable, load
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.engine.worker.server import Server, meaning_of_error
from jaxfs.engine.worker.staging import StagingBudget, default_limit_bytes
from jaxfs.ipc.channel import Channel
from jaxfs.ipc.spin import SpinPolicy

SPIN_READY_S = 60e-6  # for a small run: to wake a thread takes as long
ROOM_BYTES = 1 << 20  # runs that need less do not ask how much is free
SHORT_BYTES = 64 << 20  # less is free: a small run may have to wait for memory
SHORT_S = 10.0  # for which it is short then, as long as XLA waits before it reports that


class DeviceServer(Server):
    """Handles one message after another until the front is gone.

    Args:
        channel: To the front.
        found: The devices.
        cache: Of arrays that stay on the devices; None for none.
        staging_bytes: How much of the host's memory the transfers of a device may take.
    """

    def __init__(
        self,
        channel: Channel[protocol.Request],
        found: Sequence[jax.Device],
        cache: Cache | None,
        staging_bytes: int = 0,
    ) -> None:
        super().__init__(channel, found)
        self._cache = cache
        limit = staging_bytes or default_limit_bytes(len(found))
        self._ready_spin = SpinPolicy(SPIN_READY_S, miss_cost=8)
        self._staging = {device.id: StagingBudget(limit) for device in found}
        self._short_until_s = dict.fromkeys(self._devices, 0.0)  # by time.monotonic()

    def _detach(self, message: protocol.Detach) -> None:
        super()._detach(message)
        if self._cache is not None:
            self._cache.drop(message.producers)

    def _figures(self) -> dict[int, dict[str, int]]:
        figures = super()._figures()
        if self._cache is not None:
            for number, found in figures.items():
                found.update(self._cache.statistics(number))
        return figures

    def _make(self, message: protocol.Load, data: bytes) -> DeviceExecutable:
        """Loads an executable; where there is no memory for that, arrays that stay give way."""
        found = [self._devices[number] for number in message.device_ids]
        try:
            made = load(message, data, found)
        except Exception as error:
            if not (_is_full(error) and self._evict_all(message.device_ids)):
                raise
            made = None
        if made is None:  # not in the handler, which keeps the frames of the failure
            made = load(message, data, found)
        return DeviceExecutable(made, message.signature, found, self._cache)

    def _evict_all(self, numbers: Sequence[int]) -> int:
        if self._cache is None:
            return 0
        return sum(self._cache.make_room(number, float("inf")) for number in numbers)

    # Small runs

    def _run_here(self, loaded: LoadedExecutable, message: protocol.Execute) -> None:
        """Starts a small run in this thread, if nothing can make it wait."""
        device_id = loaded.device_ids[0]
        is_short = time.monotonic() < self._short_until_s[device_id]
        if is_short or not self._slots[device_id].try_take(message.user):
            self._run_elsewhere(message)
            return
        try:
            started = self._start(loaded, message)
            is_ready = self._ready_spin.wait(started.is_ready)
        except Exception as error:
            self._fail_small(loaded, message, error)
            return
        if is_ready:
            self._expects_more = True
            self._end_small(started, message)
        else:
            self._dependencies.begin(message.run)
            self._threads.submit(self._end_small, started, message)

    def _run_elsewhere(self, message: protocol.Execute) -> None:
        self._dependencies.begin(message.run)
        self._threads.submit(self._run_there, self._loads[message.executable], message)

    def _end_small(self, started: _StartedRun, message: protocol.Execute) -> None:
        try:
            answer = started.finish(message, self._mappings)
        except Exception as error:
            self._fail_small(started.loaded, message, error)
            return
        self._slots[started.loaded.device_ids[0]].give_back(message.user)
        self._succeed(message, answer)

    def _fail_small(
        self, loaded: LoadedExecutable, message: protocol.Execute, error: Exception
    ) -> None:
        """Fails a small run, or lets a thread try again that may make room for it."""
        self._slots[loaded.device_ids[0]].give_back(message.user)
        if _is_full(error):
            self._note_shortage(loaded)
            self._run_elsewhere(message)
        else:
            self._fail(message.run, error)

    # Other runs

    def _run_there(self, loading: Future[LoadedExecutable], message: protocol.Execute) -> None:
        """Does a whole run in another thread."""
        try:
            loaded: Any = loading.result()  # of _make
            staging = self._staging[loaded.device_ids[0]]
            with self._slot(loaded, message.user), staging.hold(loaded.staged_bytes):
                self._make_room(loaded, message)
                answer = self._run_with_room(loaded, message)
        except Exception as error:
            self._fail(message.run, error)
            return
        loaded.has_run()
        self._succeed(message, answer)

    def _make_room(self, loaded: DeviceExecutable, message: protocol.Execute) -> None:
        """Lets arrays that stay on the device give way to a run that needs their memory.

        XLA waits up to ten seconds for memory before it reports that there is none.
        """
        if loaded.device_bytes >= ROOM_BYTES:
            free = devices.free_bytes(self._devices[loaded.device_ids[0]])
            if free is not None:
                free += loaded.make_room(message, free)
                if free - loaded.device_bytes < SHORT_BYTES:
                    self._note_shortage(loaded)

    def _run_with_room(self, loaded: DeviceExecutable, message: protocol.Execute) -> protocol.Done:
        """Does a run; where there is no memory, once more without the arrays that stay."""
        try:
            return self._start(loaded, message).finish(message, self._mappings)
        except Exception as error:
            if not _is_full(error):
                raise
            self._note_shortage(loaded)
            if not loaded.make_room(message, None):
                raise
        # not in the handler, which keeps the frames of the failure and their arrays
        return self._start(loaded, message).finish(message, self._mappings)

    def _note_shortage(self, loaded: LoadedExecutable) -> None:
        """Lets small runs begin in threads for a while."""
        self._short_until_s[loaded.device_ids[0]] = time.monotonic() + SHORT_S

    # Both

    def _start(self, loaded: Any, message: protocol.Execute) -> _StartedRun:
        """Starts a run and the copies of its outputs to the host."""
        arguments = loaded.arguments(message, self._mappings)
        started_ns = time.monotonic_ns()
        arrays = loaded.run(*arguments)
        return _StartedRun(loaded, arrays, loaded.copying(arrays), started_ns)

    def _succeed(self, message: protocol.Execute, answer: protocol.Done) -> None:
        self._reply(answer)
        self._dependencies.end(message.run, well=True)


@attrs.frozen
class _StartedRun:
    """A run that was started.

    Attributes:
        loaded: What runs.
        arrays: Its outputs, which may not be computed yet.
        views: What has their copies on the host.
        started_ns: When it was started, by CLOCK_MONOTONIC.
    """

    loaded: DeviceExecutable
    arrays: Sequence[jax.Array]
    views: Sequence[jax.Array]
    started_ns: int

    def is_ready(self) -> bool:
        """Returns whether all outputs are computed."""
        return all(array.is_ready() for array in self.arrays)  # type: ignore[attr-defined]  # no stub

    def finish(self, message: protocol.Execute, mappings: Mappings) -> protocol.Done:
        """Waits for the outputs, copies them to their place and returns the answer.

        Outputs with numbers stay on the device.
        """
        for array in self.arrays:
            array.block_until_ready()
        run_usec = (time.monotonic_ns() - self.started_ns) // 1000
        outputs = self.loaded.collect(self.views, message, mappings)
        if message.keep:
            self.loaded.keep(self.arrays, message.keep)
        return protocol.Done(message.run, run_usec, outputs, self.started_ns // 1000)


def _is_full(error: Exception) -> bool:
    """Returns whether an error means that there is no memory."""
    return meaning_of_error(error).errno == errno.ENOSPC


def make_server(
    channel: Channel[protocol.Request], found: Sequence[jax.Device], cache: Cache | None
) -> Server:
    """Returns the server for some devices: CPUs without a cache compute in shared memory."""
    if cache is None and not devices.has_own_memory(found[0]):
        return Server(channel, found)
    return DeviceServer(channel, found, cache)
