"""Others get their turn while large arrays are written and read."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
import trio

from jaxfs.arrays import long_texts
from jaxfs.codecs import text_output
from jaxfs.errors import Invalid, OverQuota, TooBig
from jaxfs.options import Options
from jaxfs.quotas import MEMORY
from jaxfs.testing import InProcessMount, open_vfs
from tests.unmounted import npy_of

COUNT = 300_000
NUMBERS = np.arange(COUNT, dtype=np.float32)
TURNS = 8  # a piece takes some milliseconds; the whole at once would leave one or two turns


def savez(*arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, *arrays)
    return file.getvalue()


def image() -> bytes:
    file = io.BytesIO()
    np.save(file, np.asfortranarray(np.random.default_rng(0).random((2048, 1024), np.float32)))
    return file.getvalue()


async def turns_during(work: Callable[[], Awaitable[object]]) -> int:
    """How often another task ran meanwhile."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.001)
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await work()
        nursery.cancel_scope.cancel()
    return turns


WRITTEN: dict[str, bytes] = {
    "json": json.dumps(NUMBERS.tolist()).encode(),
    "rows": json.dumps(NUMBERS.reshape(-1, 2).tolist()).encode(),
    "npz": savez(np.random.default_rng(0).integers(0, 4, 24 << 20, np.uint8)),
}


@pytest.mark.parametrize("kind", WRITTEN)
async def test_others_get_turns_while_an_array_is_parsed(kind: str) -> None:
    async with open_vfs() as mount:
        file = await mount.client.open_file("arrays/w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        await file.write(WRITTEN[kind])
        assert await turns_during(file.close) >= TURNS
        assert mount.client.stat("arrays/w").size > 1 << 20


@pytest.mark.parametrize("suffix", [".json", ".txt", ".csv", ".png"])
async def test_others_get_turns_while_an_array_is_made_into_text(suffix: str) -> None:
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", image() if suffix == ".png" else npy_of(NUMBERS))
        assert await turns_during(lambda: mount.client.read(f"arrays/w{suffix}")) >= TURNS


async def test_others_get_turns_while_a_file_is_extended() -> None:
    async with open_vfs() as mount:
        file = await mount.client.open_file("arrays/w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for work in (
            lambda: file.truncate(256 << 20),
            lambda: file.pwrite(512 << 20, b"1"),
        ):
            steps = 0
            async with trio.open_nursery() as nursery:

                async def count() -> None:
                    nonlocal steps
                    while True:
                        await trio.lowlevel.checkpoint()
                        steps += 1

                nursery.start_soon(count)
                await work()
                nursery.cancel_scope.cancel()
            assert steps >= 16
        file.release()


async def test_a_sparse_file_is_refused_at_once_in_words() -> None:
    async with open_vfs() as mount:
        with pytest.raises(Invalid, match=r"byte 0 is zero.*\.raw"):
            async with mount.client.open("arrays/w", os.O_WRONLY | os.O_CREAT) as file:
                await file.pwrite(64 << 20, b"1")


def used(mount: InProcessMount) -> int:
    return mount.mount.calls.admission.quotas.used(mount.client.credentials.uid, MEMORY)


async def test_a_long_text_is_charged_to_its_reader_while_it_is_open() -> None:
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", npy_of(NUMBERS))
        before = used(mount)
        async with mount.client.open("arrays/w.txt") as file:
            text = await file.read_all()
            assert used(mount) >= before + len(text)
            assert await file.pread(len(text) - 9) == text[-9:]
        assert used(mount) == before
        assert text == b"".join(b"%.1f " % x for x in NUMBERS.tolist())[:-1] + b"\n"
        assert mount.client.stat("arrays/w.txt").size == len(text)


async def test_a_long_text_beyond_the_share_of_its_reader_is_refused() -> None:
    options = Options(max_bytes_per_user=3 * NUMBERS.nbytes)
    async with open_vfs(options) as mount:
        await mount.client.write("arrays/w", npy_of(NUMBERS))
        before = used(mount)
        with pytest.raises(OverQuota, match="max_bytes_per_user"):
            await mount.client.read("arrays/w.json")
        assert used(mount) == before
        assert len(await mount.client.read("arrays/w.raw")) == NUMBERS.nbytes


async def test_a_text_of_too_many_elements_names_the_formats_to_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_output, "MAX_TEXT_ELEMENTS", COUNT - 1)
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", npy_of(NUMBERS))
        for suffix in (".txt", ".csv", ".json"):
            with pytest.raises(TooBig, match=r"read \.npy or \.raw"):
                await mount.client.read(f"arrays/w{suffix}")


async def test_a_text_in_several_segments_reads_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_texts, "_FIRST_BYTES", 4096)
    monkeypatch.setattr(long_texts, "_LARGEST_BYTES", 16384)
    async with open_vfs() as mount:
        numbers = np.arange(20_000)
        await mount.client.write("arrays/w", npy_of(numbers))
        whole = json.dumps(numbers.astype(float).tolist()).encode() + b"\n"
        assert await mount.client.read("arrays/w.json") == whole
        async with mount.client.open("arrays/w.json") as file:
            for offset in (0, 4090, 8190, 40_000, len(whole) - 1, len(whole), len(whole) + 9):
                assert await file.pread(offset, 9000) == whole[offset : offset + 9000]


async def test_a_reader_that_is_killed_ends_the_making_of_a_text() -> None:
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", npy_of(np.zeros(1 << 25, np.uint8)))
        before = used(mount)
        with trio.move_on_after(0.05) as scope:
            await mount.client.read("arrays/w.txt")
        assert scope.cancelled_caught
        assert used(mount) == before


async def test_an_archive_is_charged_as_it_will_be_before_it_is_unpacked() -> None:
    options = Options(max_bytes_per_user=8 << 20)
    async with open_vfs(options) as mount:
        await mount.client.write("programs/same.mlir", "identity(x: u8[67108864]) -> u8[67108864]")
        bomb = savez(np.zeros(64 << 20, np.uint8))
        assert len(bomb) < 1 << 20
        with pytest.raises(OverQuota):
            await mount.client.write("programs/same/calls/1.npz", bomb)
        with pytest.raises(OverQuota):
            await mount.client.write("arrays/w", bomb)


async def test_what_is_there_is_kept_by_an_append() -> None:
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", npy_of(NUMBERS))
        async with mount.client.open("arrays/w", os.O_WRONLY | os.O_APPEND) as file:
            await file.write(npy_of(1.0))
        assert len(await mount.client.read("arrays/w.0.raw")) == NUMBERS.nbytes


async def test_pipelined_requests_are_copied_once() -> None:
    """A megabyte of small requests took as many copies of the rest as there are requests."""
    async with open_vfs() as mount:
        await mount.client.write("programs/same.mlir", "identity(x: f32[]) -> f32[]")
        count = 3000
        requests = b"".join(b"%d\n" % number for number in range(count))
        async with mount.client.open("programs/same/call", os.O_RDWR) as file:
            assert await turns_during(lambda: file.write(requests + b"7")) >= 0
            await file.write(b"\n")
            replies = await file.read_all()
        assert replies == b"".join(b"%d.0\n" % number for number in [*range(count), 7])
