"""Bytes a user wrote -> inputs the engine takes, checked against the signature."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from jaxfs.codecs import formats
from jaxfs.codecs.buffers import Parameter, TypedBuffer
from jaxfs.codecs.infer import Found
from jaxfs.codecs.infer import infer as infer_types
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import Invalid
from jaxfs.wire.channel import INLINE_BYTES
from jaxfs.wire.memory import Pool, Segment
from jaxfs.wire.spool import Spool

THREAD_BYTES = 1 << 18  # what takes longer to parse than this does not hold up the mount
CHEAP = frozenset({"npy", "raw"})  # formats whose data is not looked at, only sliced


def format_of(spool: Spool, wanted: str) -> str:
    """The format of a request: what its name says, or else what its first bytes say."""
    return wanted or formats.detect(spool.read(0, 16))


async def infer(spool: Spool, wanted: str, names: Sequence[str]) -> tuple[Found, ...]:
    """The types a request has, for a program without types.  Raises Invalid."""
    form = format_of(spool, wanted)
    data = spool.view()
    if len(data) > THREAD_BYTES and form not in CHEAP:
        return await trio.to_thread.run_sync(infer_types, form, data, names)
    return infer_types(form, data, names)


async def decode(
    spool: Spool, wanted: str, params: Sequence[Parameter], pool: Pool
) -> tuple[Input, ...]:
    """The inputs of one request.  Raises Invalid with both types named.

    Arrays that stand in ``pool`` already are handed on as ranges of it, without a copy; what
    another user has written into this one's call is copied.
    """
    form = format_of(spool, wanted)
    data = spool.view()
    if len(data) > THREAD_BYTES and form not in CHEAP:
        buffers = await trio.to_thread.run_sync(formats.decode, form, data, params)
    else:
        buffers = formats.decode(form, data, params)
    return tuple(_as_input(buffer, spool.segment, pool) for buffer in buffers)


def _as_input(buffer: object, segment: Segment | None, pool: Pool) -> Input:
    if not isinstance(buffer, TypedBuffer):
        raise Invalid(f"{buffer} is a reference; write the array itself: nothing has that name yet")
    if len(buffer.data) <= INLINE_BYTES // 8:
        return bytes(buffer.data)
    if segment is not None and segment.is_of(pool) and buffer.offset is not None:
        return Range(segment.retain(), buffer.offset, len(buffer.data))
    copy = pool.take(len(buffer.data))
    copy.write(0, buffer.data)
    return Range(copy, 0, len(buffer.data))


def release(inputs: tuple[Input, ...]) -> None:
    """Let go of what ``decode`` retained."""
    for value in inputs:
        if isinstance(value, Range):
            value.segment.release()
