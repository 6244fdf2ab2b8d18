"""A .safetensors file is read as its header says, or refused: in calls, streams and arrays/."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import safetensors as reference
import safetensors.numpy as reference_numpy

from jaxfs.codecs.formats import detect_file
from jaxfs.codecs.framing import Framer
from jaxfs.codecs.infer import infer
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param
from tests.codecs.values import decode_buffers

X, Y = Param("x", Aval("f32", (2, 3))), Param("y", Aval("f32", (2, 3)))
VALUES = np.arange(12, dtype=np.float32)
ENTRY = '{"dtype":"F32","shape":[2,3],"data_offsets":[%d,%d]}'


def file(header: str, nbytes: int = 48) -> bytes:
    text = header.encode()
    return struct.pack("<Q", len(text)) + text + VALUES.tobytes()[:nbytes]


def table(*rows: tuple[str, int, int]) -> str:
    entries = [f'"{name}":{ENTRY % (begin, end)}' for name, begin, end in rows]
    return "{" + ",".join(entries) + "}"


# what the format forbids, and its own reader refuses or would read in another way
REFUSED = {
    "the same range": (table(("x", 0, 24), ("y", 0, 24)), 24, "'y' begins within another"),
    "an overlap of one element": (table(("x", 0, 24), ("y", 20, 44)), 44, "'y' begins within"),
    "an overlap out of order": (table(("y", 20, 44), ("x", 0, 24)), 44, "'y' begins within"),
    "a gap": (table(("x", 0, 24), ("y", 28, 52)), 52, "it has to begin at 24"),
    "a gap before all": (table(("x", 24, 48), ("y", 48, 72)), 72, "it has to begin at 0"),
    "a negative offset": (table(("x", -24, 0), ("y", 0, 24)), 24, "x"),
    "a range that ends first": (table(("x", 24, 0), ("y", 24, 48)), 48, "x"),
    "bytes after all": (table(("x", 0, 24), ("y", 24, 48)), 48, "4 trailing bytes"),
    "a name twice": (table(("x", 0, 24), ("x", 24, 48), ("y", 24, 48)), 48, "'x' twice"),
    "a name twice, alike": (table(("x", 0, 24), ("y", 24, 48), ("y", 24, 48)), 48, "'y' twice"),
    "a name twice, escaped": (
        table(("x", 0, 24), ("y", 24, 48), (r"\u0078", 0, 24)),
        48,
        "'x' twice",
    ),
    "metadata twice": (
        '{"__metadata__":{},"__metadata__":{},' + table(("x", 0, 24), ("y", 24, 48))[1:],
        48,
        "'__metadata__' twice",
    ),
    "truncated data": (table(("x", 0, 24), ("y", 24, 48)), 40, "truncated"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_tensors_are_the_data_each_byte_once(kind: str) -> None:
    header, nbytes, words = REFUSED[kind]
    data = file(header, nbytes) + b"more" * (kind == "bytes after all")
    assert detect_file(memoryview(data)) == "safetensors"
    with pytest.raises(Invalid, match=words):
        decode_buffers("safetensors", data, [X, Y])
    if kind not in ("bytes after all", "truncated data"):  # a stream goes on
        framer = Framer("safetensors", [X, Y])
        with pytest.raises(Invalid, match=words):
            framer.needed(memoryview(data))
    with pytest.raises(Invalid, match=words):
        decode_buffers("safetensors", data, infer("safetensors", memoryview(data)))


@pytest.mark.parametrize(
    "header",
    [
        table(("x", 0, 24), ("y", 24, 48)),
        table(("y", 24, 48), ("x", 0, 24)),
        '{"__metadata__":{"a":"b, {c","x":"[\\""},' + table(("x", 0, 24), ("y", 24, 48))[1:],
        table(("x", 0, 24), ("y", 24, 48)).replace(",", " ,\n "),
        table((r"\u0078", 0, 24), ("y", 24, 48)),
    ],
)
def test_headers_may_have_any_order_metadata_and_spaces(header: str) -> None:
    data = file(header)
    x, y = decode_buffers("safetensors", data, [X, Y])
    assert x.array().reshape(-1).tolist() == VALUES[:6].tolist()
    assert y.array().reshape(-1).tolist() == VALUES[6:].tolist()
    assert sorted(reference_numpy.load(data)) == ["x", "y"]


def test_what_is_refused_is_refused_by_the_reference_or_ambiguous() -> None:
    for kind, (header, nbytes, _) in REFUSED.items():
        if "twice" not in kind and kind != "bytes after all":
            with pytest.raises(reference.SafetensorError):
                reference_numpy.load(file(header, nbytes))


@pytest.mark.parametrize("count", [12_000, 16_000])
def test_a_header_may_be_as_long_as_files_of_many_tensors_have(count: int) -> None:
    names = [
        f"model.layers.{n // 100}.experts.{n % 100}.w1.weight" + "_" * 200 for n in range(count)
    ]
    entries = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * n, 4 * n + 4]}
        for n, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt" * 1_000_000}, **entries}).encode()
    data = struct.pack("<Q", len(text)) + text + np.arange(count, dtype="<f4").tobytes()
    found = infer("safetensors", memoryview(data))
    assert [param.name for param in found] == names
    last = decode_buffers("safetensors", data, found)[-1]
    assert last.array().tolist() == [count - 1]


def test_a_header_beyond_the_limit_says_what_to_do() -> None:
    with pytest.raises(Invalid, match="at most 16777216 are read: write fewer tensors"):
        infer("safetensors", memoryview(struct.pack("<Q", 95 << 20) + b"{" * 16))
