""".png: an image from an array, with nothing but zlib.

PNG specification, third edition: https://www.w3.org/TR/png-3/.  Samples have 8 bits.  u8 of shape
[h,w] is gray, [h,w,3] RGB, [h,w,4] RGBA; a bool image is black and white; floats are scaled so that
the least finite value is black and the greatest white.  NaN is black.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jaxfs.codecs.diagnostics import check_single
from jaxfs.codecs.pieces import checkpoint
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Parameter, TypedBuffer

Array = np.ndarray[Any, Any]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {1: 0, 3: 2, 4: 6}  # by samples a pixel: gray, RGB, RGBA
_MAX_SIDE = 2**31 - 1
_PIECE_SAMPLES = 1 << 15  # made at once: under 1 ms
_LEVEL = 1  # an image is made each time it is read: speed before size


def _samples(aval: Aval) -> tuple[int, ...]:
    """Returns how many samples a pixel of this type may have; empty if it is no image type."""
    if aval.dtype == "u8":
        return (1, 3, 4)
    if aval.dtype == "bool":
        return (1,)
    return (1, 3) if aval.dtype[0] in "fb" else ()


def check(params: Sequence[Parameter]) -> None:
    """Checks that there is one output, and that it is an image.

    Raises:
        Invalid: There are others, or its shape or dtype is not an image's.
    """
    param = check_single(params, ".png")
    shape = param.aval.shape
    rank_fits = len(shape) == 2 or (len(shape) == 3 and shape[2] > 1)
    sides_fit = all(0 < side <= _MAX_SIDE for side in shape[:2])
    if not (rank_fits and sides_fit and _channels(shape) in _samples(param.aval)):
        raise Invalid(
            f".png takes u8[h,w], u8[h,w,3], u8[h,w,4], bool[h,w] and floats of shape [h,w] or "
            f"[h,w,3]; {param.name or 'the output'} is {param.aval}"
        )


def _channels(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 3 else 1


def pieces(_params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Iterator[bytes]:
    """Yields the output, which ``check`` has accepted, as an image of 8 bits a sample."""
    shape = buffers[0].aval.shape
    color = _COLOR_TYPE[_channels(shape)]
    header = struct.pack(">IIBBBBB", shape[1], shape[0], 8, color, 0, 0, 0)
    rows = buffers[0].array().reshape(shape[0], -1)
    yield _SIGNATURE
    yield _chunk(b"IHDR", header)
    for part in _deflated(_samples_of(rows, buffers[0].aval)):
        yield _chunk(b"IDAT", part)
    yield _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Returns one chunk: length, type, data, CRC-32 (section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _deflated(rows: Iterable[Array]) -> Iterator[bytes]:
    """Yields the image data: each row after the byte of its filter type, here 0 for none."""
    deflate = zlib.compressobj(_LEVEL)
    for some in rows:
        filtered = np.zeros((len(some), some.shape[1] + 1), np.uint8)
        filtered[:, 1:] = some
        yield from filter(None, (deflate.compress(filtered.data),))
    yield deflate.flush()


def _samples_of(rows: Array, aval: Aval) -> Iterator[Array]:
    """Yields the samples, 0 to 255, of some rows at a time."""
    low, high = _range(rows) if aval.dtype not in ("u8", "bool") else (0.0, 0.0)
    for some in _some(rows):
        if aval.dtype == "u8":
            yield some
        else:
            yield some * np.uint8(255) if aval.dtype == "bool" else _scaled(some, low, high)


def _some(rows: Array) -> Iterator[Array]:
    step = max(_PIECE_SAMPLES // rows.shape[1], 1)
    for start in range(0, len(rows), step):
        checkpoint()
        yield rows[start : start + step]


def _halves(rows: Array) -> Array:
    # halved, so that the distance between the greatest and the least f64 is still an f64
    return np.asarray(rows.astype(np.float64) / 2)


def _range(rows: Array) -> tuple[float, float]:
    """Returns half of the least and half of the greatest finite value; zeros if there is none."""
    finite = (some[np.isfinite(some)] for some in map(_halves, _some(rows)))
    found = [(float(np.min(some)), float(np.max(some))) for some in finite if some.size]
    return (min(low for low, _ in found), max(high for _, high in found)) if found else (0.0, 0.0)


def _scaled(rows: Array, low: float, high: float) -> Array:
    if low == high:
        return np.zeros(rows.shape, np.uint8)
    scaled = np.clip((np.nan_to_num(_halves(rows), nan=low) - low) / (high - low), 0, 1)
    return np.rint(scaled * 255).astype(np.uint8)
