"""Shared memory and spools."""

from __future__ import annotations

import errno
import gc
import os
import resource
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.errors import TooBig
from jaxfs.ipc import shared_memory
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import PAGE_BYTES, Pool, Segment
from jaxfs.ipc.spool import Spool
from jaxfs.quotas import SHARED_BYTES
from jaxfs.testing import eventually
from tests.conftest import closing_descriptors


def test_released_segment_is_used_again() -> None:
    pool = Pool()
    first = pool.take(100_000)
    number = first.number
    first.release()
    assert pool.take(90_000).number == number


def test_segment_is_held_until_its_last_holder_lets_go() -> None:
    pool = Pool()
    segment = pool.take(10)
    segment.retain()
    segment.release()
    assert pool.used_bytes == PAGE_BYTES
    segment.release()
    assert pool.used_bytes == 0


@pytest.mark.parametrize("nbytes", [0, 1 << 20])
def test_who_is_sent_a_segment_cannot_change_its_size(nbytes: int) -> None:
    """Shorter, it would be SIGBUS in the front."""
    with Pool().take(100_000) as segment:
        fd = os.dup(segment.fd)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, nbytes)
        os.close(fd)
        assert len(bytes(segment.view())) == segment.capacity


def test_pool_keeps_no_more_than_it_may() -> None:
    pool = Pool(keep_bytes=PAGE_BYTES)
    worker = pool.add_worker()
    segments = [pool.take(1) for _ in range(3)]
    worker.segments |= {segment.number for segment in segments}
    for segment in segments:
        segment.release()
    assert pool.free_bytes == PAGE_BYTES
    assert len(worker.retired) == 2
    worker.detached()
    assert len(worker.segments) == 1
    assert not worker.retired


def test_segment_descriptors_are_closed() -> None:
    with closing_descriptors():
        pool = Pool(keep_bytes=0)
        for _ in range(10):
            with pool.take(1 << 20) as segment:
                segment.write(0, b"x")
                assert segment.view()[0] == ord("x")


def test_view_outlives_the_segment_it_looks_into() -> None:
    pool = Pool(keep_bytes=0)
    segment = pool.take(10)
    segment.write(0, b"held")
    view = segment.view(0, 4)
    segment.release()
    assert bytes(view) == b"held"


writes = st.lists(
    st.tuples(st.integers(0, INLINE_BYTES * 3), st.binary(max_size=40_000)), max_size=8
)


@given(writes)
def test_spool_is_a_byte_array_wherever_it_stands(writes: list[tuple[int, bytes]]) -> None:
    pool = Pool()
    with pool.take(INLINE_BYTES * 8) as dirty:
        dirty.write(0, b"\xff" * INLINE_BYTES * 8)  # what somebody else left behind
    spool, model = Spool(pool, limit_bytes=1 << 20), bytearray()
    for offset, data in writes:
        spool.write(offset, data)
        model.extend(bytes(max(0, offset - len(model))))
        model[offset : offset + len(data)] = data
    assert spool.size == len(model)
    assert bytes(spool.view()) == model
    spool.close()
    assert pool.used_bytes == 0


def test_spool_can_be_cut_and_extended_with_zeros() -> None:
    spool = Spool(Pool(), limit_bytes=1 << 20)
    spool.append(b"abcdef")
    spool.truncate(3)
    spool.truncate(5)
    assert bytes(spool.view()) == b"abc\0\0"


def test_spool_has_a_limit() -> None:
    spool = Spool(Pool(), limit_bytes=100)
    with pytest.raises(TooBig):
        spool.write(90, bytes(11))


def test_free_segments_are_given_back_after_a_while() -> None:
    pool = Pool()
    pool.take(10).release()
    pool.trim()
    assert pool.free_bytes == PAGE_BYTES
    pool.trim()
    assert pool.free_bytes == 0


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def allocated_bytes(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


@pytest.mark.parametrize("nbytes", [20_000, 100_000, SHARED_BYTES])
def test_small_arrays_share_descriptors(nbytes: int) -> None:
    pool, before = Pool(), descriptors()
    taken = [pool.take_range(nbytes) for _ in range(64)]
    assert descriptors() - before <= 8
    for number, (segment, offset) in enumerate(taken):
        segment.write(offset, bytes([number]) * nbytes)
    for number, (segment, offset) in enumerate(taken):
        assert segment.read(offset, nbytes) == bytes([number]) * nbytes
        assert bytes(segment.view(offset, 10)) == bytes([number]) * 10
        assert offset + nbytes <= segment.capacity
    for segment, _ in taken:
        segment.release()
    assert pool.used_bytes == 0
    pool.close()
    eventually(lambda: descriptors() == before)  # large ones are closed in a thread


def test_array_that_lives_on_keeps_only_its_own_pages() -> None:
    pool = Pool()
    taken = [pool.take_range(20_000) for _ in range(64)]
    for segment, offset in taken:
        segment.write(offset, bytes(20_000))
    kept, offset = taken.pop(7)
    worker = pool.add_worker()
    worker.segments.add(kept.number)
    kept.write(offset, b"x" * 20_000)
    for segment, _ in taken:
        segment.release()
    assert allocated_bytes(kept) > 1_000_000
    pool.trim()
    pool.trim()
    assert allocated_bytes(kept) <= 2 * 20_480
    assert kept.read(offset, 20_000) == b"x" * 20_000
    kept.release()
    pool.trim()
    pool.trim()
    pool.trim()
    assert pool.free_bytes == 0
    assert worker.retired == [kept.number]


@pytest.mark.parametrize("nbytes", [100, 20_000, 40_000, 100_000, SHARED_BYTES, 2 * SHARED_BYTES])
def test_ranges_are_whole_pages_where_a_page_has_64_kib(
    nbytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # madvise(2) refuses an address that is not a multiple of the page size: aarch64 may have these
    page = 65536
    spans: list[int] = []

    def dropped(self: Segment, offset: int, nbytes: int) -> None:
        spans.extend((offset, nbytes))

    monkeypatch.setattr(shared_memory, "PAGE_BYTES", page)
    monkeypatch.setattr(Segment, "drop_pages", dropped)
    monkeypatch.setattr(Segment, "free_pages", dropped)
    pool = Pool()
    taken = [pool.take_range(nbytes) for _ in range(20)]
    starts = sorted((segment.number, offset) for segment, offset in taken)
    assert all(one[0] != other[0] or other[1] - one[1] >= nbytes for one, other in pairwise(starts))
    kept, _ = taken.pop(3)
    for segment, _ in taken:
        segment.release()
    for _ in range(3):
        pool.trim()
    kept.release()
    pool.close()
    assert pool.used_bytes == 0
    assert spans
    assert all(span % page == 0 for span in spans)


def test_released_range_is_used_again_and_keeps_its_holders_apart() -> None:
    pool = Pool()
    (one, at), (other, elsewhere) = pool.take_range(20_000), pool.take_range(20_000)
    one.retain()
    one.release()
    third, third_at = pool.take_range(20_000)
    assert len({at, elsewhere, third_at}) == 3
    one.release()
    assert pool.take_range(20_000)[1] == at
    assert one.number == other.number == third.number


def test_pooled_memory_is_freed_when_the_descriptors_run_out() -> None:
    pool = Pool()
    for segment in [pool.take(SHARED_BYTES << 1) for _ in range(20)]:
        segment.release()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), hard))
    try:
        taken = [pool.take(SHARED_BYTES << 2) for _ in range(10)]
        with pytest.raises(OSError, match="Too many open files") as raised:
            taken.extend(pool.take(SHARED_BYTES << 2) for _ in range(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert raised.value.errno == errno.EMFILE
    for segment in taken:
        segment.release()
    pool.close()


def test_what_was_committed_stays_as_it_was_when_more_is_written() -> None:
    spool = Spool(Pool(), limit_bytes=1 << 20)
    spool.append(b"a" * 40_000)
    committed = spool.segment
    assert committed is not None
    committed.retain()
    start = spool.start
    spool.write(0, b"b" * 40_000)
    assert committed.read(start, 40_000) == b"a" * 40_000
    assert spool.read(0, 40_000) == b"b" * 40_000
    committed.release()
    spool.close()
