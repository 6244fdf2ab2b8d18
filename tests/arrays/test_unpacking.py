"""Arrays are unpacked, reordered and parsed into the memory that they stay in, and no other."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import trio

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.inputs import Request
from jaxfs.arrays.producers import WrittenArrays
from jaxfs.engine.interface import Range
from jaxfs.errors import JaxfsError
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.ipc.spool import Spool
from jaxfs.quotas import DESCRIPTORS, MEMORY, Quotas
from jaxfs.testing import InProcessMount, open_vfs
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param

MIB = 1 << 20
COUNT = 3 * MIB  # 12 MiB of f32, and of text
ALLOWED = 9 * MIB  # a piece of some megabytes, twice
NUMBERS = np.arange(COUNT, dtype=np.float32).reshape(-1, 2) % 97


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(*arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, array in enumerate(arrays):
            archive.writestr(f"arr_{number}.npy", npy(array))
    return file.getvalue()


FORTRAN, SWAPPED = np.asfortranarray(NUMBERS), NUMBERS.astype(">f4")
ONE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a deflated member": ("npz", lambda: npz(NUMBERS)),
    "a deflated member in Fortran order": ("npz", lambda: npz(FORTRAN)),
    "a deflated member with swapped bytes": ("npz", lambda: npz(SWAPPED)),
    "Fortran order": ("npy", lambda: npy(FORTRAN)),
    "swapped bytes": ("npy", lambda: npy(SWAPPED)),
    "both": ("npy", lambda: npy(FORTRAN.astype(">f4", order="F"))),
    "text": ("json", lambda: str(NUMBERS.tolist()).replace(" ", "").encode()),
}


def used(mount: InProcessMount) -> tuple[int, int]:
    quotas, uid = mount.mount.calls.admission.quotas, mount.client.credentials.uid
    return quotas.used(uid, MEMORY), quotas.used(uid, DESCRIPTORS)


async def private_bytes_of_closing(mount: InProcessMount, path: str, data: bytes) -> int:
    """Writes a file, and returns the memory of this process that closing it took at most."""
    file = await mount.client.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for start in range(0, len(data), MIB):
        await file.pwrite(start, data[start : start + MIB])
    tracemalloc.start()
    try:
        await file.close()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def same(found: bytes | memoryview) -> bool:
    return np.array_equal(np.frombuffer(found, "f4").reshape(-1, 2), NUMBERS)


@pytest.mark.parametrize("kind", ONE)
async def test_a_named_array_is_made_in_the_memory_that_it_stays_in(kind: str) -> None:
    suffix, make = ONE[kind]
    async with open_vfs() as mount:
        before = used(mount)
        assert await private_bytes_of_closing(mount, f"arrays/w.{suffix}", make()) < ALLOWED
        assert same(await mount.client.read("arrays/w.raw"))
        assert used(mount) == (before[0] + NUMBERS.nbytes, before[1] + 1)
        mount.client.unlink("arrays/w")
        assert used(mount) == before


@pytest.mark.parametrize("kind", ONE)
async def test_an_input_is_made_in_the_memory_that_a_run_takes(kind: str) -> None:
    suffix, make = ONE[kind]
    pool, quotas, data = Pool(), Quotas({}, 1 << 40), make()
    spool = Spool(pool, 1 << 30)
    spool.write(0, data)
    request = await Request.of(spool, suffix, pytest.fail, 7)
    tracemalloc.start()
    try:
        [found] = await request.decode(
            [Param("arr_0", Aval("f32", NUMBERS.shape))],
            pool,
            lambda nbytes: quotas.charge_memory(7, nbytes).refund,
        )
        assert tracemalloc.get_traced_memory()[1] < ALLOWED
    finally:
        tracemalloc.stop()
    assert isinstance(found, Range)
    assert same(found.segment.view(found.offset, found.nbytes))
    assert quotas.used(7, MEMORY) == NUMBERS.nbytes
    found.segment.release()
    spool.close()
    assert quotas.used(7, MEMORY) == pool.used_bytes == 0


async def test_the_arrays_of_an_archive_are_unpacked_side_by_side() -> None:
    arrays: list[np.ndarray] = [NUMBERS, FORTRAN, np.arange(5), SWAPPED[:MIB], NUMBERS[:3000]]
    async with open_vfs() as mount:
        before = used(mount)
        assert await private_bytes_of_closing(mount, "arrays/w.npz", npz(*arrays)) < ALLOWED
        for number, array in enumerate(arrays):
            found = await mount.client.read(f"arrays/w.{number}.npy")
            assert np.array_equal(np.load(io.BytesIO(found)), array)
        assert used(mount)[1] == before[1] + 1
        mount.client.unlink("arrays/w")
        assert used(mount) == before


@pytest.mark.parametrize("at", [-250, -1000, 20_000])
async def test_an_archive_that_proves_damaged_costs_nothing(at: int) -> None:
    data = bytearray(npz(NUMBERS[: MIB // 2], FORTRAN[: MIB // 2]))
    data[at] ^= 0x55
    shape = f"f32[{MIB // 2},2]"
    async with open_vfs() as mount:
        await mount.client.write(
            "programs/both.mlir", f"identity(x: {shape}, y: {shape}) -> {shape}, {shape}"
        )
        before, pool = used(mount), mount.mount.calls.admission.pool(mount.client.credentials.uid)
        held = pool.used_bytes
        for path in ("arrays/w.npz", "programs/both/calls/1.npz"):
            with pytest.raises(JaxfsError):
                await mount.client.write(path, bytes(data))
        assert used(mount) == before
        assert pool.used_bytes == held


async def test_an_array_of_another_engine_is_copied_in_pieces_and_charged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop copied it at once, as much as there is, charged to no user."""
    theirs, ours, quotas = Pool(), Pool(), Quotas({}, 1 << 40)
    params = (Param("x", Aval("f32", NUMBERS.shape)),)
    segment = theirs.take(NUMBERS.nbytes)
    segment.write(0, NUMBERS.tobytes())
    producer = WrittenArrays(params, Range(segment, 0, NUMBERS.nbytes))
    producer.done.set()
    producer.add_link()
    sizes, write = list[int](), Segment.write

    def recorded_write(segment: Segment, offset: int, data: bytes | memoryview) -> None:
        sizes.append(len(data))
        assert not trio.lowlevel.in_trio_run()
        write(segment, offset, data)

    spool = Spool(ours, 1 << 30)
    spool.write(0, b"arrays/w")
    request = await Request.of(spool, "", lambda path: ArrayRef(producer, path), 7)
    monkeypatch.setattr(Segment, "write", recorded_write)
    charge = lambda nbytes: quotas.charge_memory(7, nbytes).refund  # noqa: E731
    [found] = await request.decode(params, ours, charge)
    producer.drop_link()
    assert isinstance(found, Range)
    assert found.segment.belongs_to(ours)
    assert same(found.segment.view(found.offset, found.nbytes))
    assert max(sizes) <= MIB
    assert theirs.used_bytes == 0
    assert quotas.used(7, MEMORY) == NUMBERS.nbytes
    found.segment.release()
    assert quotas.used(7, MEMORY) == ours.used_bytes == 0
