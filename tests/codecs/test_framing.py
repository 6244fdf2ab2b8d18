"""Requests are told apart however they arrive."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.codecs.formats import FORMATS, encode
from jaxfs.codecs.framing import Framer
from jaxfs.codecs.safetensors import DTYPES
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval, parse_aval
from jaxfs.types.signature import Param
from tests.codecs.values import Values, decode_buffers, values

FRAMED = [row.name for row in FORMATS if row.is_framed]


def requests_in(
    name: str, params: Sequence[Param], stream: bytes, cuts: list[int]
) -> tuple[list[bytes], bytes]:
    """Cut the stream into writes and take requests out of it, as a conversation does."""
    found, pending, framer = list[bytes](), b"", Framer(name, params)
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        pending += stream[start:end]
        while (needed := framer.needed(memoryview(pending))) is not None and needed <= len(pending):
            found.append(pending[:needed])
            pending, framer = pending[needed:], Framer(name, params)
    return found, pending


@pytest.mark.parametrize("name", ["npy", "safetensors", "raw"])
@given(drawn=values(dtypes=tuple(DTYPES.values())), count=st.integers(1, 3), data=st.data())
def test_pipelined_requests_in_any_pieces_come_out_whole(
    name: str, drawn: Values, count: int, data: st.DataObject
) -> None:
    params, buffers = drawn
    request = bytes(encode(name, params, buffers))
    if not params or not request:
        return
    cuts = sorted(data.draw(st.lists(st.integers(0, len(request) * count), max_size=6)))
    assert requests_in(name, params, request * count, cuts) == ([request] * count, b"")


TEXTS = {
    "f32[] f32[]": [b"1 2\n", b"1\n2\n", b"\n 1 [2,\n3]\n", b'"a\nb" 1 2\n', b"1 2 3\n"],
    "f32[3]": [b"1 2 3\n", b"[1,\n2,\n3]\n", b"arrays/w\n", b"\r\n[1]\r\n", b"1 [2\n] 3\n"],
    "": [b"\n", b"x\n"],
}


@pytest.mark.parametrize("types", TEXTS)
@given(data=st.data())
def test_text_ends_at_the_newline_after_its_last_word(types: str, data: st.DataObject) -> None:
    params = [Param("", parse_aval(t)) for t in types.split()]
    requests = data.draw(st.lists(st.sampled_from(TEXTS[types]), max_size=4))
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    assert requests_in("json", params, stream + b"[4", [*cuts, len(stream)]) == (requests, b"[4")


def test_a_length_is_known_before_the_data_is_there() -> None:
    param = Param("x", Aval("f32", (1000,)))
    [buffer] = decode_buffers("json", str([0] * 1000).encode(), [param])
    request = bytes(encode("npy", [param], [buffer]))
    assert Framer("npy", [param]).needed(memoryview(request[:128])) == len(request)
    assert Framer("npy", [param]).needed(memoryview(request[:127])) is None


@pytest.mark.parametrize("name", ["npy", "safetensors"])
def test_a_wrong_type_is_refused_as_soon_as_its_header_is_there(name: str) -> None:
    found = Param("x", Aval("i32", (2,)))
    request = encode(name, [found], decode_buffers("json", b"[1, 2]", [found]))
    header = memoryview(request.read(0, request.nbytes - 8))
    with pytest.raises(Invalid, match=r"input 0 x: expected f32\[2\], got i32\[2\]"):
        Framer(name, [Param("x", Aval("f32", (2,)))]).needed(header)


@pytest.mark.parametrize("name", ["npy", "raw"])
def test_data_for_a_program_without_inputs_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="expected no inputs"):
        Framer(name, []).needed(memoryview(b"x"))
    assert Framer(name, []).needed(memoryview(b"")) is None


@pytest.mark.parametrize("name", [row.name for row in FORMATS if not row.is_framed])
def test_formats_that_only_the_end_ends_are_refused(name: str) -> None:
    with pytest.raises(Invalid, match="cannot tell where"):
        Framer(name, [])


@pytest.mark.parametrize("name", FRAMED)
@given(noise=st.binary(max_size=64), drawn=values())
def test_noise_never_raises_anything_but_invalid(name: str, noise: bytes, drawn: Values) -> None:
    try:
        needed = Framer(name, drawn[0]).needed(memoryview(noise))
    except Invalid:
        return
    assert needed is None or needed > 0


def test_text_is_not_scanned_again_with_each_write() -> None:
    framer = Framer("json", [Param("x", Aval("f32", (10**6,)))])
    text = b"[" + b"1," * 1000
    assert framer.needed(memoryview(text)) is None
    blanked = b"?" * len(text) + b"1]\n"  # what was seen is not looked at again
    assert framer.needed(memoryview(blanked)) == len(blanked)
