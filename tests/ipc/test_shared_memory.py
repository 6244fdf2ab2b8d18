"""Shared memory and spools."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.errors import TooBig
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import PAGE_BYTES, Pool
from jaxfs.ipc.spool import Spool
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
    segments = [pool.take(1) for _ in range(3)]
    numbers = {segment.number for segment in segments}
    for segment in segments:
        segment.release()
    assert pool.free_bytes == PAGE_BYTES
    assert len(numbers & set(pool.take_retired())) == 2


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
