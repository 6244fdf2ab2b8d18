"""How a worker serves a device with memory of its own, with a device, arrays and runs made up."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import attrs
import jax
import numpy as np
import pytest

from jaxfs.engine import protocol
from jaxfs.engine.worker import device_server, devices
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.engine.worker.device_executable import DeviceExecutable
from jaxfs.engine.worker.device_server import DeviceServer
from jaxfs.engine.worker.executable import LoadedExecutable
from jaxfs.engine.worker.mappings import Mappings
from jaxfs.engine.worker.server import Server
from jaxfs.engine.worker.slots import SLOTS_PER_USER
from jaxfs.engine.worker.staging import StagingBudget
from jaxfs.ipc.shared_memory import SegmentRef
from jaxfs.jaxcompat import executables
from jaxfs.testing import eventually
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param, Signature

FULL = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1024 bytes."
LOST = (
    "INTERNAL: CUDA error: : CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"
)
ALICE, BOB = 1001, 1002
X = np.arange(4, dtype="f4")


@attrs.define(eq=False)
class Card:
    """A device as JAX has it."""

    id: int = 0
    platform: str = "cuda"
    stats: dict[str, int] = attrs.field(factory=dict)

    def memory_stats(self) -> dict[str, int]:
        return self.stats


@attrs.define(eq=False)
class OnCard:
    """An output on the card: computed when ``ready`` is set, or never because of ``error``."""

    data: np.ndarray
    ready: threading.Event = attrs.field(factory=threading.Event)
    error: Exception | None = None
    log: list[str] = attrs.field(factory=list)
    is_fully_replicated: bool = True
    has_copy: bool = False  # JAX keeps a copy with the array that it was asked of

    def is_ready(self) -> bool:
        return self.ready.is_set()

    def block_until_ready(self) -> None:
        assert self.ready.wait(60)
        if self.error is not None:
            raise self.error
        self.log.append("waited")

    def addressable_data(self, number: int) -> OnCard:
        return OnCard(self.data, self.ready, self.error, self.log)

    def copy_to_host_async(self) -> None:
        self.log.append("copying")
        self.has_copy = True

    def on_device_size_in_bytes(self) -> int:
        return self.data.nbytes

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        self.log.append("read")
        self.has_copy = True
        return self.data


def computed(*arrays: np.ndarray, error: Exception | None = None) -> list[OnCard]:
    found = [OnCard(array, error=error) for array in arrays]
    for one in found:
        one.ready.set()
    return found


@attrs.define(eq=False)
class Compiled:
    """An executable as JAX has it."""

    run: Callable[..., Sequence[Any]]
    opcodes: frozenset[str] = frozenset({"kAdd"})
    temporary: int = 0


class Channel:
    """To the front: what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]


class Bench:
    """A server without a process."""

    def __init__(self, cache: DeviceCache[Any] | None = None, **changes: Any) -> None:
        self.card = Card()
        self.channel = Channel()
        self.cache = cache
        channel: Any = self.channel
        cards: Any = [self.card]
        self.server = DeviceServer(channel, cards, cache, **changes)
        self.threads: list[str] = []

    def load(
        self,
        run: Callable[..., Sequence[Any]],
        *,
        size: int = 4,
        donated: bool = False,
        **kind: Any,
    ) -> DeviceExecutable:
        aval = Aval("f32", (size,))
        signature = Signature((Param("x", aval, donated),), (Param("", aval),))
        device: Any = self.card
        loaded = DeviceExecutable(Compiled(run, **kind), signature, [device], self.cache)
        future: Future[LoadedExecutable] = Future()
        future.set_result(loaded)
        self.server._loads[1] = future
        return loaded

    def execute(self, number: int, user: int = ALICE, **changes: Any) -> None:
        fields = {"inputs": (X.tobytes(),), "user": user, **changes}
        self.server._execute(protocol.Execute(number, 1, **fields))

    def answers(self, count: int) -> list[Any]:
        eventually(lambda: len(self.channel.sent) >= count)
        return self.channel.sent


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = {
        "xla_executable": lambda made: made,
        "opcodes": lambda made: made.opcodes,
        "bytes_accessed": lambda made: None,
        "temporary_bytes": lambda made: made.temporary,
        "make_callable": lambda made, signature: made.run,
        "make_concurrent_callable": lambda made: made.run,
        "initialize_custom_calls": lambda: None,
    }
    for name, function in replaced.items():
        monkeypatch.setattr(executables, name, function)


def in_thread(names: list[str]) -> Callable[..., Sequence[Any]]:
    """A run that notes the thread it was started in."""

    def run(x: np.ndarray) -> Sequence[Any]:
        names.append(threading.current_thread().name)
        return computed(np.asarray(x) * 2)

    return run


# Small runs


def test_the_first_run_of_a_program_is_not_started_by_the_thread_that_reads_messages() -> None:
    bench = Bench()
    loaded = bench.load(in_thread(bench.threads))
    assert not loaded.is_quick
    bench.execute(1)
    bench.answers(1)
    eventually(lambda: loaded.is_quick)
    bench.execute(2)
    bench.answers(2)
    here = threading.current_thread().name
    assert [name == here for name in bench.threads] == [False, True]
    assert [done.outputs for done in bench.channel.sent] == [(X * 2).tobytes()] * 2


@pytest.mark.parametrize(
    "kind", [{"opcodes": frozenset({"kConditional"})}, {"size": 1 << 20}, {"temporary": 1 << 30}]
)
def test_what_may_wait_for_the_device_is_never_small(kind: dict[str, Any]) -> None:
    loaded = Bench().load(in_thread([]), **kind)
    loaded.has_run()
    assert not loaded.is_quick


def test_a_cpu_starts_conditionals_and_first_runs_itself() -> None:
    aval = Aval("f32", (4,))
    signature = Signature((Param("x", aval),), (Param("", aval),))
    device: Any = Card(platform="cpu")
    made = Compiled(in_thread([]), frozenset({"kConditional"}))
    assert LoadedExecutable(made, signature, [device]).is_quick


def test_small_runs_that_do_not_end_do_not_stop_the_thread_that_reads_messages() -> None:
    bench = Bench()
    waiting: list[OnCard] = []

    def run(x: np.ndarray) -> Sequence[Any]:
        bench.threads.append(threading.current_thread().name)
        waiting.append(OnCard(np.asarray(x)))
        return waiting[-1:]

    loaded = bench.load(run)
    loaded.has_run()
    for number in range(SLOTS_PER_USER + 4):
        bench.execute(number)
    here = threading.current_thread().name
    assert bench.threads == [here] * SLOTS_PER_USER  # the others wait for a slot, in threads
    bench.server._statistics(protocol.Statistics(1))
    assert bench.channel.of(protocol.MemoryStatistics)
    bench.execute(100, user=BOB)
    assert bench.threads == [here] * (SLOTS_PER_USER + 1)
    for _ in range(SLOTS_PER_USER + 5):
        eventually(lambda: any(not one.ready.is_set() for one in waiting))
        next(one for one in waiting if not one.ready.is_set()).ready.set()
    eventually(lambda: len(bench.channel.of(protocol.Done)) == SLOTS_PER_USER + 5)
    assert bench.server._slots[0].running == 0


def test_a_small_run_without_memory_is_tried_again_elsewhere() -> None:
    bench = Bench(DeviceCache(1 << 20))
    assert bench.cache is not None
    bench.cache.put(7 << 20, 0, computed(X)[0])
    results = iter([computed(X, error=jax.errors.JaxRuntimeError(FULL)), computed(X)])
    loaded = bench.load(lambda x: next(results))
    loaded.has_run()
    bench.execute(1)
    assert isinstance(bench.answers(1)[0], protocol.Done)
    assert bench.server._slots[0].running == 0


@pytest.mark.parametrize("is_short", [False, True])
def test_where_memory_is_short_no_small_run_is_started_by_that_thread(is_short: bool) -> None:
    bench = Bench(DeviceCache(1 << 20))
    size = device_server.ROOM_BYTES // 4  # floats
    bench.card.stats = {"bytes_limit": 1 << 30, "bytes_in_use": (1 << 30) - (4 << 20)}
    if not is_short:
        bench.card.stats["bytes_in_use"] = 0
    bench.load(lambda x: computed(np.zeros(size, "f4")), size=size)
    bench.execute(1, inputs=(bytes(4 * size),))
    bench.answers(1)
    loaded = bench.load(in_thread(bench.threads))
    loaded.has_run()
    bench.execute(2)
    bench.answers(2)
    here = threading.current_thread().name
    assert [name == here for name in bench.threads] == [not is_short]


# Memory


def failing(times: int, words: str = FULL) -> Callable[..., Sequence[Any]]:
    """A run that fails so many times."""
    left = [None] * times

    def run(x: np.ndarray) -> Sequence[Any]:
        if left:
            left.pop()
            raise jax.errors.JaxRuntimeError(words)
        return computed(np.asarray(x))

    return run


def filled(limit_bytes: int = 1 << 20) -> DeviceCache[Any]:
    cache = DeviceCache[Any](limit_bytes)
    for value in (1, 2, 3):
        cache.put(value, 0, computed(np.zeros(64, "f4"))[0])
    return cache


def test_arrays_that_stay_give_way_to_a_run_without_memory() -> None:
    bench = Bench(filled())
    bench.load(failing(1))
    bench.execute(1)
    assert isinstance(bench.answers(1)[0], protocol.Done)
    assert bench.cache is not None
    assert bench.cache.statistics(0)["resident_evicted"] == 3


def test_a_run_that_finds_no_memory_twice_is_enospc() -> None:
    bench = Bench(filled())
    bench.load(failing(2))
    bench.execute(1)
    (failed,) = bench.answers(1)
    assert (failed.errno, failed.run) == (28, 1)
    assert "use smaller arrays" in failed.reason


def test_a_run_is_tried_once_if_nothing_gives_way() -> None:
    bench = Bench(DeviceCache(1 << 20))
    bench.load(failing(1))
    bench.execute(1)
    assert bench.answers(1)[0].errno == 28


def test_arrays_give_way_before_a_run_that_needs_their_memory() -> None:
    cache = filled()
    cache.get(1, 0)  # used last
    bench = Bench(cache)
    size = 1 << 18  # floats
    bench.card.stats = {"bytes_limit": 1 << 22, "bytes_in_use": (1 << 22) - (2 << 20) + 300}
    bench.load(lambda x: computed(np.zeros(size, "f4")), size=size)
    bench.execute(1, inputs=(bytes(4 * size),), output=None)
    bench.answers(1)
    assert cache.statistics(0)["resident_evicted"] == 2
    assert cache.get(1, 0) is not None


def test_inputs_of_a_run_do_not_give_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(filled())
    loaded = bench.load(failing(0), size=64)
    message = protocol.Execute(1, 1, (SegmentRef(1, 0, 256, 2),))
    assert loaded.make_room(message, None) == 512
    assert bench.cache is not None
    assert bench.cache.get(2, 0) is not None


def test_loading_is_tried_again_when_arrays_gave_way(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(filled())
    calls: list[int] = []

    def load(message: protocol.Load, data: bytes, found: Sequence[Any]) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise jax.errors.JaxRuntimeError(FULL)
        return Compiled(failing(0))

    monkeypatch.setattr(device_server, "load", load)
    signature = Signature((), ())
    assert bench.server._make(protocol.Load(1, (0,), signature), b"").device_ids == (0,)
    assert len(calls) == 2


# Transfers


def test_outputs_are_copied_at_once_and_stay_without_a_copy_on_the_host() -> None:
    bench = Bench(DeviceCache(1 << 20))
    log: list[str] = []
    outputs = [OnCard(X, log=log), OnCard(X, log=log)]
    for one in outputs:
        one.ready.set()
    aval = Aval("f32", (4,))
    signature = Signature((), (Param("", aval), Param("", aval)))
    device: Any = bench.card
    loaded = DeviceExecutable(Compiled(lambda: outputs), signature, [device], bench.cache)
    future: Future[LoadedExecutable] = Future()
    future.set_result(loaded)
    bench.server._loads[1] = future
    bench.execute(1, inputs=(), keep=1 << 20)
    bench.answers(1)
    assert log[:4] == ["copying", "copying", "waited", "waited"]
    assert bench.cache is not None
    assert bench.cache.get(1 << 20, 0) is outputs[0]
    assert set(log[4:]) == {"read"}
    assert not any(one.has_copy for one in outputs)


def test_the_memory_that_transfers_take_is_bounded_and_taken_in_turns() -> None:
    budget, order, over = StagingBudget(100), list[int](), threading.Event()

    def hold(nbytes: int) -> None:
        with budget.hold(nbytes):
            order.append(nbytes)
            over.wait(60)

    with ThreadPoolExecutor(8) as pool:
        pool.submit(hold, 60)
        eventually(lambda: order == [60])
        pool.submit(hold, 1000)  # more than there is: goes alone
        eventually(lambda: budget.waiting == 1)
        pool.submit(hold, 10)
        eventually(lambda: budget.waiting == 2)
        assert order == [60]
        over.set()
    assert order == [60, 1000, 10]
    assert budget.held_bytes == 0


def test_runs_take_turns_with_the_memory_for_transfers() -> None:
    bench = Bench(staging_bytes=40)  # one run stages 32
    waiting: list[OnCard] = []

    def run(x: np.ndarray) -> Sequence[Any]:
        waiting.append(OnCard(np.asarray(x)))
        return waiting[-1:]

    bench.load(run)
    for number in range(3):
        bench.execute(number)
    eventually(lambda: bench.server._staging[0].waiting == 2)
    for count in (1, 2, 3):
        eventually(lambda: any(not one.ready.is_set() for one in waiting))
        assert len(waiting) == count
        waiting[-1].ready.set()
    bench.answers(3)


def test_a_donated_array_that_stays_is_copied_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(filled())
    copies: list[tuple[Any, Any]] = []

    def device_put(array: Any, device: Any, *, may_alias: bool | None = None) -> Any:
        copies.append((array, may_alias))
        return "a copy"

    monkeypatch.setattr(jax, "device_put", device_put)
    monkeypatch.setattr(Mappings, "array", lambda self, ref, dtype, shape: X)
    loaded = bench.load(failing(0), size=64, donated=True)
    message = protocol.Execute(1, 1, (SegmentRef(1, 0, 256, 2),))
    assert loaded.arguments(message, Mappings()) == ["a copy"]
    assert bench.cache is not None
    assert copies == [(bench.cache.get(2, 0), False)]


# Faults


class Ended(BaseException):
    """The process would have ended."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    def end(status: int) -> None:
        found.append(status)
        raise Ended

    monkeypatch.setattr(os, "_exit", end)
    return found


def test_a_lost_device_ends_the_worker_without_an_answer(ended: list[int]) -> None:
    bench = Bench()
    bench.load(failing(1, LOST))
    bench.execute(1)
    eventually(lambda: ended == [protocol.DEVICE_FAILED])
    (message,) = bench.channel.sent
    assert isinstance(message, protocol.DeviceFailed)
    assert message.fault == "run"
    assert "CUDA_ERROR_ILLEGAL_ADDRESS" in message.reason


def test_what_follows_from_a_lost_device_is_not_answered(ended: list[int]) -> None:
    bench = Bench()
    bench.server._is_lost = True
    bench.load(failing(1, "INTERNAL: something else"))
    bench.execute(1)
    bench.load(failing(1, LOST))
    bench.execute(2)
    eventually(lambda: ended == [protocol.DEVICE_FAILED])
    assert not bench.channel.of(protocol.Failed)


def test_figures_of_a_device_that_has_failed_end_the_worker(
    ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()

    def figures(found: Any) -> Any:
        raise jax.errors.JaxRuntimeError(LOST)

    monkeypatch.setattr(devices, "memory_statistics", figures)
    with pytest.raises(Ended):
        bench.server._statistics(protocol.Statistics(1))
    assert bench.channel.of(protocol.DeviceFailed)


def test_devices_with_memory_of_their_own_have_their_server() -> None:
    channel: Any = Channel()
    cards: list[Any] = [Card()]
    cpus: list[Any] = [Card(platform="cpu")]
    assert isinstance(device_server.make_server(channel, cards, None), DeviceServer)
    assert type(device_server.make_server(channel, cpus, None)) is Server
    assert isinstance(device_server.make_server(channel, cpus, DeviceCache(1)), DeviceServer)
