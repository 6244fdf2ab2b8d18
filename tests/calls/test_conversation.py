"""call: requests and replies on one open file."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import trio

from jaxfs.errors import Invalid, NotFound, NotReady, OverQuota, RunFailed, TimedOut
from jaxfs.options import Options
from jaxfs.testing import ClientFile, InProcessMount
from tests.unmounted import ADD, BIG, DOUBLE, PARTIAL, UNTYPED, npy_of, serving

REQUEST = b"[1, 2] [3, 4]\n"
SUM = b"[4.0, 6.0]\n"
RAW = np.array([1, 2, 3, 4], "float32").tobytes()
RAW_SUM = np.array([4, 6], "float32").tobytes()


async def opened(mount: InProcessMount, path: str, flags: int = os.O_RDWR) -> ClientFile:
    return await mount.client.open_file(path, flags)


async def test_replies_come_in_the_order_of_the_requests() -> None:
    async with serving(double=DOUBLE) as mount:
        file = await opened(mount, "programs/double/call")
        for number in range(5):
            await file.write(f"[{number}, 0]\n".encode())
        replies = (await file.read_all()).decode().splitlines()
        assert replies == [f"[{2 * number}.0, 0.0]" for number in range(5)]
        assert await file.read() == b""
        await file.close()


async def test_a_conversation_goes_on_after_its_end_of_file() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call")
        for _ in range(3):
            await file.write(REQUEST)
            assert await file.read() == SUM
            assert await file.read() == b""
        await file.close()


@pytest.mark.parametrize(
    ("suffix", "request_data"),
    [("", npy_of([1, 2], [3, 4])), (".npy", npy_of([1, 2], [3, 4])), (".raw", RAW)],
)
async def test_requests_may_arrive_in_any_pieces(suffix: str, request_data: bytes) -> None:
    async with serving(add=ADD) as mount:
        whole = await mount.client.ask(f"programs/add/call{suffix}", request_data)
        file = await opened(mount, f"programs/add/call{suffix}")
        for start in range(0, len(request_data), 7):
            await file.write(request_data[start : start + 7])
        assert await file.read_all() == whole
        await file.write(request_data + request_data)
        assert await file.read_all() == whole + whole
        await file.close()


async def test_a_small_raw_request_takes_the_short_way() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call.raw")
        await file.write(RAW)  # its run shows that this program ends quickly
        assert await file.read() == RAW_SUM
        for _ in range(19):
            assert file.open_file.write_now(0, RAW)
            assert file.open_file.read_now(0, 100) == RAW_SUM
        assert file.open_file.read_now(0, 100) is None
        await file.close()
        assert (await mount.client.keyed("programs/add/stats"))["calls"] == "20"


async def test_the_short_way_waits_for_a_late_reply_in_the_event_loop() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call.raw")
        await file.write(RAW)
        assert await file.read() == RAW_SUM
        mount.engine.hold()
        await file.write(RAW)
        assert file.open_file.read_now(0, 100) is None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(file.read)
            await trio.testing.wait_all_tasks_blocked()
            mount.engine.release()
        await file.write(RAW)
        assert await file.read() == RAW_SUM
        await file.close()


async def test_the_short_way_is_not_taken_for_other_sizes_and_bound_inputs() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call.raw")
        assert not file.open_file.write_now(0, RAW + RAW)
        assert not file.open_file.write_now(0, RAW[:4])
        await mount.client.write("programs/add/inputs/x", "[1.0, 2.0]")
        assert not file.open_file.write_now(0, RAW)
        await file.write(RAW[8:])
        assert await file.read() == RAW_SUM
        await file.close()


@pytest.mark.parametrize(
    "source",
    ["identity(x: bool[8]) -> bool[8]", "identity(x: f32[9999]) -> f32[9999]", "identity()"],
)
async def test_programs_without_a_short_way_are_called_all_the_same(source: str) -> None:
    async with serving(same=source) as mount:
        file = await opened(mount, "programs/same/call.raw")
        nbytes = int((await mount.client.keyed("programs/same/memory"))["argument_bytes"])
        assert not file.open_file.write_now(0, bytes(nbytes or 1))
        if nbytes:
            await file.write(bytes(nbytes))
            assert await file.read_all() == bytes(nbytes)
        file.release()


async def test_replies_with_padding_between_outputs_are_put_together() -> None:
    two = "identity(x: f32[2], y: f32[2]) -> f32[2], f32[2]"
    async with serving(two=two) as mount:
        file = await opened(mount, "programs/two/call.raw")
        assert file.open_file.write_now(0, RAW)
        assert file.open_file.read_now(0, 100) is None
        assert await file.read() == RAW
        await file.close()


async def test_a_reply_is_read_in_any_pieces() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call")
        await file.write(REQUEST)
        pieces = [await file.read(4) for _ in range(3)]
        assert b"".join(pieces) == SUM
        await file.close()


async def test_a_request_that_is_wrong_is_dropped_and_the_next_one_is_answered() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call")
        with pytest.raises(Invalid):
            await file.write(b"[1, 2] [3, 4, 5]\n")
        await file.write(REQUEST)
        assert await file.read() == SUM
        await file.close()


async def test_a_request_that_stops_short_is_refused_when_reading_begins() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call.npy")
        await file.write(npy_of([1, 2], [3, 4])[:100])
        with pytest.raises(Invalid):
            await file.read()
        await file.write(npy_of([1, 2], [3, 4]))
        assert await file.read()
        await file.close()


async def test_a_request_that_stops_short_is_refused_at_close_of_a_file_without_reading() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call.npy", os.O_WRONLY)
        await file.write(npy_of([1, 2], [3, 4])[:100])
        with pytest.raises(Invalid):
            await file.close()


async def test_a_run_that_failed_is_reported_in_its_turn() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        file = await opened(mount, "programs/add/call")
        await file.write(REQUEST + REQUEST)
        mount.engine.fail(error=RunFailed("out of luck"))
        mount.engine.release()
        with pytest.raises(RunFailed, match="out of luck"):
            await file.read()
        assert await file.read() == SUM
        await file.close()


async def test_a_reply_that_is_not_there_is_not_ready_without_blocking() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        file = await opened(mount, "programs/add/call", os.O_RDWR | os.O_NONBLOCK)
        await file.write(REQUEST)
        with pytest.raises(NotReady):
            await file.read()
        mount.engine.release()
        assert await file.read() == SUM
        await file.close()


async def test_two_threads_that_read_one_file_get_a_reply_each() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        file = await opened(mount, "programs/add/call")
        await file.write(REQUEST + REQUEST)
        found = list[bytes]()

        async def read() -> None:
            found.append(await file.pread(0))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            mount.engine.release()
        assert found == [SUM, SUM]
        await file.close()


async def test_an_untyped_conversation_answers_when_reading_begins() -> None:
    async with serving(twice=UNTYPED, sums=PARTIAL) as mount:
        assert await mount.client.ask("programs/twice/call", "[1.5, 2]") == b"[3.0, 4.0]\n"
        request = npy_of([1, 2], [3, 4])
        assert await mount.client.ask("programs/sums/call", request) == npy_of([4, 6])


async def test_an_open_conversation_uses_the_new_version_for_the_next_request() -> None:
    async with serving(p=DOUBLE) as mount:
        file = await opened(mount, "programs/p/call")
        await file.write(b"[1, 2]\n")
        assert await file.read() == b"[2.0, 4.0]\n"
        await mount.client.write("programs/p.mlir", "negate(x: f32[2]) -> f32[2]")
        await file.write(b"[1, 2]\n")
        assert await file.read() == b"[-1.0, -2.0]\n"
        await file.close()


async def test_large_replies_count_for_the_callers_share_until_they_are_read() -> None:
    async with serving(Options(max_bytes_per_user=1_500_000), big=BIG) as mount:
        file = await opened(mount, "programs/big/call.raw")
        for _ in range(2):
            await file.write(bytes(400_000))
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OverQuota):
            await file.write(bytes(400_000))
        assert len(await file.read_all()) == 800_000
        await file.write(bytes(400_000))
        await file.close()
        await trio.testing.wait_all_tasks_blocked()
        await mount.client.write("programs/.all", bytes(1_000_000))
        assert mount.engine.pool.used_bytes == 0


async def test_a_closed_conversation_abandons_what_was_not_answered() -> None:
    async with serving(Options(max_bytes_per_user=1_000_000), big=BIG) as mount:
        mount.engine.hold()
        file = await opened(mount, "programs/big/call.raw")
        await file.write(bytes(400_000))
        await file.close()
        mount.engine.release()
        assert mount.engine.pool.used_bytes == 0
        await mount.client.write("programs/.all", bytes(1_000_000))


async def test_a_reply_past_its_limit_is_timed_out(autojump_clock: object) -> None:
    async with serving(Options(call_timeout=5.0), add=ADD) as mount:
        mount.engine.hold()
        file = await opened(mount, "programs/add/call")
        await file.write(REQUEST)
        with pytest.raises(TimedOut, match="call_timeout"):
            await file.read()
        await trio.sleep(5)
        assert mount.engine.killed == [1]
        await file.close()


async def test_a_conversation_ignores_truncation() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.truncate("programs/add/call", 0)
        async with mount.client.open("programs/add/call", os.O_WRONLY | os.O_TRUNC) as file:
            await file.write(REQUEST)


async def test_a_request_of_large_arrays_in_pieces_is_put_together_in_shared_memory() -> None:
    async with serving(big=BIG) as mount:
        file = await opened(mount, "programs/big/call")
        await file.write(npy_of(np.ones(100_000)))
        reply = np.load(io.BytesIO(await file.read_all()))
        assert reply.sum() == 200_000
        await file.close()
        assert mount.engine.pool.used_bytes == 0


async def test_references_in_a_conversation_are_found() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        assert await mount.client.ask("programs/add/call", "arrays/w [3, 4]\n") == SUM
        with pytest.raises(NotFound, match="arrays/nothing"):
            await mount.client.ask("programs/add/call", "arrays/nothing [3, 4]\n")


LONG = b"[" + b" " * (1 << 18)  # read in a thread


async def interrupted_write(file: ClientFile, data: bytes) -> int:
    """Writes as a process to which a signal comes while the request is read."""
    with trio.CancelScope() as scope:
        scope.cancel()
        return await file.write(data)
    raise AssertionError("EINTR: the C library and Python write the same bytes again")


@pytest.mark.parametrize("pieces", [(LONG, b"1, 2] [3, 4]\n"), (LONG + b"1, 2] [3, 4]\n",)])
@pytest.mark.parametrize("more", [0, 1, 3])
async def test_a_signal_while_a_long_request_is_read_drops_no_part_of_it(
    pieces: tuple[bytes, ...], more: int
) -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call")
        for piece in pieces[:-1]:
            await file.write(piece)
        last = pieces[-1] + REQUEST * more
        assert await interrupted_write(file, last) == len(last)
        assert await file.read_all() == SUM * (1 + more)
        await file.write(REQUEST)
        assert await file.read_all() == SUM
        await file.close()


async def test_a_request_after_an_interrupted_one_is_answered_after_it() -> None:
    async with serving(double=DOUBLE) as mount:
        file = await opened(mount, "programs/double/call")
        await interrupted_write(file, LONG + b"1, 2]\n[2, 2]\n")
        await file.write(b"[3, 2]\n")
        assert await file.read_all() == b"[2.0, 4.0]\n[4.0, 4.0]\n[6.0, 4.0]\n"
        await file.close()


async def test_a_bad_request_that_was_interrupted_is_the_error_of_the_read() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call")
        await interrupted_write(file, LONG + b"1, 2] [3, 'x']\n")
        with pytest.raises(Invalid):
            await file.read()
        await file.write(REQUEST)
        assert await file.read_all() == SUM
        await file.close()


async def test_an_interrupted_request_of_a_write_only_conversation_is_submitted() -> None:
    async with serving(add=ADD) as mount:
        file = await opened(mount, "programs/add/call", os.O_WRONLY)
        await interrupted_write(file, LONG + b"1, 2] [3, 4]\n")
        await file.close()
        assert (await mount.client.keyed("programs/add/stats"))["calls"] == "1"
