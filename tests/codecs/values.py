"""Random types, parameters and arrays, for every test of the codecs."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from jaxfs.codecs.formats import Params, decode
from jaxfs.types.avals import BY_SHORT, DTYPES, Aval
from jaxfs.types.buffers import TypedBuffer, flat_bytes
from jaxfs.types.signature import Param

Values = tuple[tuple[Param, ...], tuple[TypedBuffer, ...]]

_BITS = {"bool": 1, "i2": 2, "u2": 2, "i4": 4, "u4": 4, "f4_e2m1fn": 4}


def buffer_of(array: np.ndarray, short: str) -> TypedBuffer:
    aval = Aval(short, array.shape)
    return TypedBuffer(aval, bytes(flat_bytes(array.astype(BY_SHORT[short].numpy))))


def same(found: TypedBuffer, expected: TypedBuffer) -> bool:
    """Type and bytes; what nan looks like inside is part of the bytes."""
    return (found.aval, bytes(found.data)) == (expected.aval, bytes(expected.data))


def decode_buffers(name: str, data: bytes | memoryview, params: Params) -> list[TypedBuffer]:
    """Decodes inputs without references among them."""
    found = decode(name, data, params)
    buffers = [one for one in found if isinstance(one, TypedBuffer)]
    assert len(buffers) == len(found)
    return buffers


shapes: st.SearchStrategy[tuple[int, ...]] = st.lists(st.integers(0, 3), max_size=4).map(tuple)
names = st.sampled_from(["", "x", "y", "params.w", "params['w']", "µ/α", "a\nb", "__metadata__"])


@st.composite
def avals(draw: st.DrawFn, dtypes: tuple[str, ...] = tuple(BY_SHORT)) -> Aval:
    return Aval(draw(st.sampled_from(dtypes)), draw(shapes))


@st.composite
def buffers(draw: st.DrawFn, of: st.SearchStrategy[Aval] | None = None) -> TypedBuffer:
    """Any bytes that are elements of the type."""
    aval = draw(of if of is not None else avals())
    largest = (1 << _BITS.get(aval.dtype, 8)) - 1
    drawn = draw(st.binary(min_size=aval.nbytes, max_size=aval.nbytes))
    return TypedBuffer(aval, bytes(byte & largest for byte in drawn))


@st.composite
def values(
    draw: st.DrawFn,
    max_count: int = 3,
    dtypes: tuple[str, ...] = tuple(row.short for row in DTYPES),
) -> Values:
    """Parameters and a buffer for each."""
    found = draw(st.lists(buffers(of=avals(dtypes)), max_size=max_count))
    return tuple(Param(draw(names), buffer.aval) for buffer in found), tuple(found)
