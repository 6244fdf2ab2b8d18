"""Images, read back by the letter of the PNG specification."""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import ArrayLike

from jaxfs.codecs.formats import encode, encoded_size
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param
from tests.codecs.values import buffer_of


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position = 8
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        crc = struct.unpack_from(">I", data, position + 8 + length)[0]
        assert crc == zlib.crc32(kind + body)
        yield kind, body
        position += 12 + length


def image(array: ArrayLike, short: str) -> np.ndarray:
    """The samples of the image an array becomes."""
    buffer = buffer_of(np.asarray(array), short)
    (first, header), *data, (last, empty) = chunks(
        bytes(encode("png", [Param("x", buffer.aval)], [buffer]))
    )
    assert (first, last, empty) == (b"IHDR", b"IEND", b"")
    assert {kind for kind, _ in data} == {b"IDAT"}
    width, height, depth, color, *methods = struct.unpack(">IIBBBBB", header)
    assert (depth, methods) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3, 6: 4}[color]
    pixels = np.frombuffer(zlib.decompress(b"".join(body for _, body in data)), np.uint8)
    rows = pixels.reshape(height, 1 + width * channels)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(buffer.aval.shape)


sides = st.integers(1, 5)
shapes = st.tuples(sides, sides) | st.tuples(sides, sides, st.sampled_from([3, 4]))


@given(hnp.arrays(np.uint8, shapes))
def test_bytes_are_the_samples(array: np.ndarray) -> None:
    assert np.array_equal(image(array, "u8"), array)


def test_bools_are_black_and_white() -> None:
    assert image([[True, False]], "bool").tolist() == [[255, 0]]


@pytest.mark.parametrize("short", ["f64", "f32", "f16", "bf16", "f8_e5m2"])
def test_floats_are_stretched_from_black_to_white(short: str) -> None:
    assert image([[-1, 0, 1]], short).tolist() == [[0, 128, 255]]
    assert image([[[1, 2, 3]]], short).tolist() == [[[0, 128, 255]]]


def test_a_constant_and_nan_are_black_and_infinities_the_ends() -> None:
    assert image([[7, 7]], "f32").tolist() == [[0, 0]]
    assert image([[np.nan, 1, 3]], "f32").tolist() == [[0, 0, 255]]
    assert image([[-np.inf, 1, 3, np.inf]], "f32").tolist() == [[0, 0, 255, 255]]
    assert image([[np.nan, np.inf]], "f32").tolist() == [[0, 0]]


@given(hnp.arrays(np.float64, (2, 3)))
def test_any_floats_make_an_image(array: np.ndarray) -> None:
    assert image(array, "f64").shape == (2, 3)


@pytest.mark.parametrize(
    "aval",
    [
        Aval("i32", (2, 2)),
        Aval("u8", (2,)),
        Aval("u8", (2, 2, 2)),
        Aval("u8", (2, 2, 1)),
        Aval("u8", (0, 2)),
        Aval("bool", (2, 2, 3)),
        Aval("f32", (2, 2, 4)),
        Aval("c64", (2, 2)),
    ],
    ids=str,
)
def test_what_is_no_image_is_refused_before_there_are_values(aval: Aval) -> None:
    with pytest.raises(Invalid, match=r"png takes u8\[h,w\]"):
        encoded_size("png", [Param("x", aval)])
