"""What a request costs before it is refused or taken: memory in proportion to its bytes."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxfs.codecs import infer as infer_module
from jaxfs.codecs import long_lists, pieces, text_input, tokenizer
from jaxfs.codecs.formats import decode
from jaxfs.codecs.infer import InferredParam, infer
from jaxfs.codecs.literals import Mismatch, buffer_of
from jaxfs.codecs.long_lists import LongList
from jaxfs.codecs.text_input import MAX_REFERENCES, references
from jaxfs.codecs.tokenizer import Tokenizer, split
from jaxfs.errors import Invalid, JaxfsError
from jaxfs.types.avals import Aval, parse_aval
from jaxfs.types.signature import Param

KIB = 1 << 10
TEXT_BYTES = 1 << 18
ALLOWED = 10  # bytes of memory for each byte of the request, beside
CONSTANT = 5 << 20  # for what is bounded by a constant: pieces, words, references
X = Param("x", parse_aval("f32[2]"))
REPEATED: dict[str, tuple[bytes, bytes, bytes]] = {  # what comes before, repeatedly, and after
    "words": (b"", b"1 ", b""),
    "references": (b"", b"arrays/x ", b""),
    "numbers": (b"[", b"1,", b"1]"),
    "fractions": (b"[", b"1.5,", b"1]"),
    "rows": (b"[", b"[1,2],", b"[1,2]]"),
    "empty lists": (b"[", b"[],", b"[]]"),
    "empty words": (b"", b"[] ", b""),
    "deep lists": (b"", b"[", b""),
    "objects": (b"[", b"{},", b"{}]"),
    "keys": (b"{", b'"a":1,', b'"b":1}'),
    "strings": (b"[", b'"",', b'""]'),
    "escapes": (b'["', rb"\"", b'"]'),
    "complex numbers": (b"[", b"1j,", b"1j]"),
    "digits": (b"", b"9", b""),
    "exponents": (b"[", b"1e999999999,", b"1]"),
    "newlines": (b"", b"\n", b"1"),
    "zeros": (b"", b"\0", b""),
    "open strings": (b'"', b"x ", b""),
    "closing brackets": (b"1", b"] ", b""),
}


def repeated(name: str, nbytes: int = TEXT_BYTES) -> memoryview:
    before, middle, after = REPEATED[name]
    return memoryview(before + middle * (nbytes // len(middle)) + after)


def peak(work: Callable[[], object]) -> int:
    """The memory that work takes at most."""
    tracemalloc.start()
    try:
        work()
    except JaxfsError:
        pass
    finally:
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return most


@pytest.mark.parametrize("name", REPEATED)
def test_text_costs_memory_in_proportion_to_its_bytes(name: str) -> None:
    text = repeated(name)
    referred = {"arrays/x": (InferredParam("", Aval("f32")),) * 10_000}
    counts = {path: len(arrays) for path, arrays in referred.items()}
    allowed = ALLOWED * len(text) + CONSTANT
    assert peak(lambda: references(text)) < allowed
    assert peak(lambda: decode("json", text, [X])) < allowed
    assert peak(lambda: decode("json", text, [X, X])) < allowed
    assert peak(lambda: text_input.decode(text, [X, X], counts)) < allowed
    assert peak(lambda: infer("json", text)) < allowed
    assert peak(lambda: infer("json", text, referred=referred)) < allowed
    assert peak(lambda: text_input.TextFrames([X, X], lambda _: 10_000).needed(text)) < allowed


def test_references_are_counted_before_they_are_expanded() -> None:
    words = memoryview(b"arrays/x " * 100)  # 900 bytes
    many = {"arrays/x": 128_000}
    with pytest.raises(Invalid, match=r"expected 1 input .*, got 12800000"):
        text_input.decode(words, [X], many)
    assert peak(lambda: text_input.decode(words, [X], many)) < 100 * KIB
    arrays = (InferredParam("", Aval("f32")),) * 10_000
    with pytest.raises(Invalid, match="more than 16384 arrays"):
        infer("json", words, referred={"arrays/x": arrays})
    assert peak(lambda: infer("json", words, referred={"arrays/x": arrays})) < 100 * KIB


def test_a_text_of_many_words_is_not_many_arrays() -> None:
    with pytest.raises(Invalid, match=r"more than 10000 arrays.*in brackets, \[1, 2, 3\]"):
        infer("json", memoryview(b"1 " * 128_000))
    assert len(infer("json", memoryview(b"1 " * 10_000))) == infer_module.MAX_WORDS


def test_references_are_found_wherever_they_are_in_a_long_text() -> None:
    block = pieces.TEXT_BYTES
    for at in (0, 1, block - 9, block - 4, block, 2 * block + 1):
        gap = b" " * at
        assert references(memoryview(gap + b"arrays/abc 1")) == {"arrays/abc"}
        assert references(memoryview(gap + b"arrays/abc")) == {"arrays/abc"}
        assert references(memoryview(gap + b"xarrays/abc arrays/a/b")) == frozenset()


def test_too_many_different_references_are_refused() -> None:
    words = [b"arrays/%d" % number for number in range(MAX_REFERENCES + 1)]
    assert len(references(memoryview(b" ".join(words[1:])))) == MAX_REFERENCES
    with pytest.raises(Invalid, match="more than 10000 different references"):
        references(memoryview(b" ".join(words)))


def test_a_sparse_file_is_refused_by_its_first_zero() -> None:
    with pytest.raises(Invalid, match=r"byte 2 is zero.*\.raw"):
        references(memoryview(b"1 " + bytes(TEXT_BYTES)))


MARKS = [b"1", b"[", b"]", b" ", b"\n", b",", b"arrays/x", b"[1, 2]", b"\n\n"]
STRINGS = [b'"a b"', b'"[ "', rb'"\" "', rb'"\\"']
piece_of_text = st.sampled_from([*MARKS, *STRINGS])


@given(st.lists(piece_of_text, max_size=40), st.data())
def test_blocks_have_the_same_words_as_single_bytes(
    drawn: list[bytes], data: st.DataObject
) -> None:
    text = memoryview(b"".join(drawn))
    cut = data.draw(st.integers(0, len(text)))
    enough = data.draw(st.none() | st.integers(0, 6))
    assert scanned(text, cut, enough, steps=0) == scanned(text, cut, enough, steps=10**6)


def scanned(
    text: memoryview, cut: int, enough: int | None, steps: int
) -> tuple[list[tuple[int, int]], list[int]] | str:
    """The words of a text that came in two pieces, and the first newline after each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer, "_STEPS", steps)
        patch.setattr(tokenizer, "PIECE_BYTES", 5)
        found, ends = Tokenizer(enough), list[int]()
        try:
            ends += found.line_ends(text[:cut])
            ends += found.line_ends(text)
            words = found.spans[:enough]
            found.finish(text)
        except Invalid:
            return "refused"
    last = [stop for _, stop in words]
    return words, [min((e for e in ends if e > stop), default=0) for stop in last]


numbers = st.one_of(
    st.integers(-3, 3).map(str), st.sampled_from(["1.5", "nan", "-inf", "1e3", "true", "x", ""])
)
nested = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
)


@settings(max_examples=300)
@given(st.one_of(nested, st.text("[], 12\n", max_size=12)), st.sampled_from(["f32", "i32", "bool"]))
def test_a_long_list_is_what_the_same_short_one_is(text: str, dtype: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_lists, "PIECE_BYTES", 8)
        patch.setattr(long_lists, "_NUMBER_BYTES", 8)
        try:
            found: LongList | None = LongList.of(memoryview(text.encode()))
            assert found is not None
            param = Param("x", Aval(dtype, found.shape))
            elements: bytes | None = bytes(found.elements(param.aval).data)
        except Mismatch:
            found = elements = None
    try:
        value = np.array(json.loads(text.replace("nan", "NaN").replace("-inf", "-Infinity")))
        shape = value.shape if value.dtype != object else ()
    except ValueError:
        shape = (0,)
    param = Param("x", Aval(dtype, shape))
    try:
        expected: bytes | None = bytes(buffer_of(0, param, text).data)
    except Invalid:
        expected = None
    if text.lstrip().startswith("["):
        assert elements == expected
        assert found is None or expected is None or found.shape == shape


@pytest.mark.parametrize("text", ["[1, 2], 3", "1", "[[1], [2, 3]]", "1[[, 2]]", "[1]2", "[1, 2"])
def test_what_is_no_list_is_refused_when_it_is_long(text: str) -> None:
    for long in (text, text + " " * 99):
        with pytest.raises(Mismatch):
            LongList.of(memoryview(long.encode())).elements(Aval("f32", (2,)))


def test_long_text_reads_as_the_same_numbers() -> None:
    count = 50_000
    expected = np.arange(count, dtype=np.float32) / 4
    text = json.dumps(expected.tolist()).encode()
    rows = json.dumps(expected.reshape(-1, 2, 5).tolist()).encode()
    pairs = json.dumps(expected.reshape(-1, 2).tolist()).encode()
    words = b"\n".join(b"%.2f" % x for x in expected.tolist())
    for data, aval in (
        (text, Aval("f32", (count,))),
        (rows, Aval("f32", (count // 10, 2, 5))),
        (pairs, Aval("c64", (count // 2,))),
        (words, Aval("f32", (count,))),
    ):
        [found] = decode("json", data, [Param("x", aval)])
        assert bytes(found.data) == expected.tobytes()  # type: ignore[union-attr]
    assert [str(one.aval) for one in infer("json", memoryview(text + b" 1"))] == [
        f"f32[{count}]",
        "i32[]",
    ]
    whole = json.dumps(list(range(count))).encode()
    assert str(infer("json", memoryview(whole))[0].aval) == f"i32[{count}]"


def test_words_that_are_not_all_needed_are_not_all_split() -> None:
    found = split(memoryview(b"[] " * (1 << 20)), 10)
    assert 10 < len(found) < 1 << 16
