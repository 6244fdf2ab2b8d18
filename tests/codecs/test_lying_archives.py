"""Archives and headers that lie are refused before what they claim costs anything."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from jaxfs.codecs.formats import decode
from jaxfs.codecs.infer import infer
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.signature import Param
from tests.codecs.test_costs import ALLOWED, X, peak


def lying_npz(**changes: int) -> bytes:
    """An archive of one deflated member, the directory of which is not true."""
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(1 << 16, "f4"))
    data = bytearray(file.getvalue())
    directory = data.rindex(b"PK\x01\x02")
    for field, value in changes.items():
        layout, at = {
            "flags": ("<H", 8),
            "method": ("<H", 10),
            "crc": ("<I", 16),
            "packed": ("<I", 20),
            "unpacked": ("<I", 24),
            "offset": ("<I", 42),
        }[field]
        struct.pack_into(layout, data, directory + at, value)
    return bytes(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": 1},
        {"method": 12},
        {"crc": 1},
        {"packed": 3},
        {"packed": 1 << 30},
        {"unpacked": 1 << 10},
        {"unpacked": (1 << 32) - 2},
        {"offset": 7},
        {"offset": (1 << 32) - 2},
    ],
    ids=str,
)
def test_an_archive_that_lies_is_refused(changes: dict[str, int]) -> None:
    data = memoryview(lying_npz(**changes))
    with pytest.raises(Invalid):
        decode("npz", data, [Param("x", Aval("f32", (1 << 16,)))])
    assert peak(lambda: infer("npz", data)) < 1 << 20


def test_an_archive_is_taken_that_was_streamed_with_data_descriptors() -> None:
    read_end, write_end = os.pipe()
    with (
        os.fdopen(write_end, "wb") as pipe,
        zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in ("x", "y"):
            archive.writestr(f"{name}.npy", npz_member())
    with os.fdopen(read_end, "rb") as end:
        data = end.read()
    [x, _] = decode("npz", data, [Param(n, Aval("f32", (4,))) for n in ("x", "y")])
    assert isinstance(x, TypedBuffer)
    assert bytes(x.data) == bytes(16)


def npz_member() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(4, "f4"))
    return file.getvalue()


def overlapping_npz(count: int) -> bytes:
    """An archive with one packed stretch that all members claim."""
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros(1 << 20, "f4"))
    data = file.getvalue()
    at, end = data.rindex(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry = data[at:end]
    entries = b"".join(entry.replace(b"x.npy", b"%05d" % n) for n in range(count))
    fields = (0, 0, count, count, len(entries), at, 0)
    return data[:at] + entries + b"PK\x05\x06" + struct.pack("<HHHHIIH", *fields)


def test_members_that_overlap_are_refused_before_anything_is_inflated() -> None:
    data = memoryview(overlapping_npz(1000))
    with pytest.raises(Invalid, match="overlap in the archive"):
        infer("npz", data)
    params = [Param(f"{n:05d}", Aval("f32", (1 << 20,))) for n in range(1000)]
    with pytest.raises(Invalid, match="overlap in the archive"):
        decode("npz", data, params)
    assert peak(lambda: decode("npz", data, params)) < 2 << 20


def test_only_the_headers_are_inflated_to_find_the_types() -> None:
    file = io.BytesIO()
    np.savez_compressed(file, *[np.zeros(1 << 20, "f4") for _ in range(20)])
    data = memoryview(file.getvalue())
    assert str(infer("npz", data)[0].aval) == "f32[1048576]"
    assert peak(lambda: infer("npz", data)) < 1 << 20


def test_tensors_that_overlap_are_refused() -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"x": entry, "y": entry}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(16)
    params = [Param(name, X.aval) for name in "xy"]
    with pytest.raises(Invalid, match="tensor 'y' begins within another one"):
        decode("safetensors", data, params)
    with pytest.raises(Invalid, match="tensor 'y' begins within another one"):
        infer("safetensors", memoryview(data))


def test_a_header_costs_in_proportion_to_its_bytes() -> None:
    entries = {
        f"t{n}": {"dtype": "U8", "shape": [], "data_offsets": [n, n + 1]} for n in range(20_000)
    }
    header = json.dumps(entries, separators=(",", ":")).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(20_000)
    assert peak(lambda: infer("safetensors", memoryview(data))) < 20 * len(data)
    assert peak(lambda: decode("safetensors", memoryview(data), [X])) < ALLOWED * len(data)
    deep = b'{"x":{"dtype":"U8","shape":[' + b"9," * 100_000 + b'9],"data_offsets":[0,1]}}'
    data = struct.pack("<Q", len(deep)) + deep + bytes(1)
    with pytest.raises(Invalid, match="damaged safetensors header"):
        infer("safetensors", memoryview(data))
