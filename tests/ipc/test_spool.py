"""What was written at any offset reads back, also while the spool moves to more memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.errors import TooBig
from jaxfs.ipc import spool as spool_module
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.ipc.spool import Spool
from jaxfs.quotas import MEMORY, Quotas

LIMIT = 1 << 30
KIB = 1 << 10


def cannot(_fd: int, _offset: int, _nbytes: int) -> None:
    raise OSError(95, "Operation not supported")


@pytest.fixture
def used_pool() -> Pool:
    """A pool with segments that are full of somebody's bytes."""
    pool = Pool()
    for exponent in range(14, 22):
        with pool.take(1 << exponent) as segment:
            segment.write(0, b"s" * segment.capacity)
    return pool


@pytest.mark.parametrize("can_punch", [True, False])
def test_a_gap_reads_as_zeros_in_memory_that_was_used_before(
    used_pool: Pool, monkeypatch: pytest.MonkeyPatch, can_punch: bool
) -> None:
    if not can_punch:
        monkeypatch.setattr(spool_module, "punch_hole", cannot)
    spool = Spool(used_pool, LIMIT)
    spool.write(500 * KIB + 3, b"end")
    assert bytes(spool.view()) == bytes(500 * KIB + 3) + b"end"
    spool.truncate(900 * KIB)
    assert spool.read(500 * KIB, 10) == b"\0\0\0end\0\0\0\0"
    assert spool.read(900 * KIB - 4, 10) == bytes(4)
    spool.close()


@given(st.binary(min_size=1, max_size=9), st.integers(0, 299 * KIB), st.integers(0, 18))
def test_what_was_shared_between_the_steps_of_a_move_stays(
    data: bytes, offset: int, step: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool_module, "STEP_BYTES", 16 * KIB)
        spool, twin = Spool(Pool(), LIMIT), None
        spool.write(300 * KIB, b"end")
        for number, _ in enumerate(spool.prepare(0, 700 * KIB)):
            if number == step:
                twin = spool.share()
        twin = twin or spool.share()
        spool.write(offset, data)
        assert bytes(twin.view()) == bytes(300 * KIB) + b"end"
        assert spool.read(offset, len(data)) == data
        twin.close()
        spool.close()


def test_much_room_is_made_in_steps() -> None:
    spool = Spool(Pool(), LIMIT)
    steps = sum(1 for _ in spool.prepare(256 << 20, 256 << 20))
    assert steps >= (256 << 20) // spool_module.STEP_BYTES - 1
    spool.truncate(256 << 20)
    assert spool.read((256 << 20) - 3, 9) == bytes(3)
    assert sum(1 for _ in spool.prepare(0, 300 << 20)) >= 31  # a larger segment: it moves
    assert spool.size == 256 << 20
    with pytest.raises(TooBig):
        list(spool.prepare(0, LIMIT + 1))
    spool.close()


def test_a_move_that_is_given_up_frees_its_memory_and_charge() -> None:
    pool, quotas = Pool(), Quotas({}, LIMIT)
    spool = Spool(pool, LIMIT, charge=lambda nbytes: quotas.charge_memory(7, nbytes))
    spool.truncate(64 << 20)
    held, charged = pool.used_bytes, quotas.used(7, MEMORY)
    steps = spool.prepare(0, 65 << 20)
    next(steps)
    assert pool.used_bytes > held
    assert quotas.used(7, MEMORY) > charged
    del steps
    assert pool.used_bytes == held
    assert quotas.used(7, MEMORY) == charged
    spool.close()
    assert pool.used_bytes == 0
    assert quotas.used(7, MEMORY) == 0


def test_a_byte_far_beyond_the_end_copies_no_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room was made up to the byte and not for it: the write moved 256 MiB at once."""
    written, write = list[int](), Segment.write

    def recorded_write(segment: Segment, offset: int, data: bytes | memoryview) -> None:
        written.append(len(data))
        write(segment, offset, data)

    monkeypatch.setattr(Segment, "write", recorded_write)
    spool, far = Spool(Pool(), LIMIT), 256 << 20
    for _ in spool.prepare(far, far + 1):
        pass
    spool.write(far, b"1")
    assert sum(written) == 1
    assert spool.read(far - 1, 9) == b"\0001"
    spool.close()
