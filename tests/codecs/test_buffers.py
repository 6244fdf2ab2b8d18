import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Rope, TypedBuffer


@given(st.lists(st.binary(max_size=8)), st.integers(0, 50), st.integers(0, 50))
def test_rope_reads_like_its_joined_bytes(pieces: list[bytes], offset: int, size: int) -> None:
    rope, whole = Rope(pieces), b"".join(pieces)
    assert bytes(rope.read(offset, size)) == whole[offset : offset + size]
    assert (rope.nbytes, bytes(rope)) == (len(whole), whole)


def test_a_read_within_one_piece_is_not_a_copy() -> None:
    memory = bytearray(b"0123456789")
    rope = Rope([b"header", memoryview(memory)])
    window = rope.read(8, 4)
    memory[2:6] = b"abcd"
    assert bytes(window) == b"abcd"


def test_a_read_across_a_seam_is_joined() -> None:
    assert Rope([b"header", b"data"]).read(4, 4) == b"erda"


def test_rope_takes_pieces_of_other_formats_as_bytes() -> None:
    array = np.arange(3, dtype="<i4")
    assert bytes(Rope([array.data, np.empty((0, 3)).data])) == array.tobytes()


def test_a_buffer_of_the_wrong_length_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"f32\[2\] takes 8 bytes, not 4"):
        TypedBuffer(Aval("f32", (2,)), b"1234")
