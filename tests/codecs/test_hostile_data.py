"""Data that is odd, lies or is far longer inside is read or refused; nothing else happens."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from jaxfs.codecs import zip_archives
from jaxfs.codecs.formats import decode, detect_file
from jaxfs.codecs.infer import infer
from jaxfs.codecs.text_input import references
from jaxfs.errors import JaxfsError
from jaxfs.types.avals import parse_aval
from jaxfs.types.buffers import Rope, TypedBuffer
from jaxfs.types.signature import Param
from tests.codecs.test_costs import peak

ALLOWED = 16 << 20
WIDE = 1 << 63
PROGRAMS = [
    [Param(name, parse_aval(text)) for name, text in params.items()]
    for params in (
        {"x": "f32[2]"},
        {"": "f32[]"},
        {"x": "c64[2]"},
        {"x": "bool[2]"},
        {"x": "i8[20001]"},
        {"x": "c64[10001]"},
        {"x": "f16[]", "y": "i32[]"},
    )
]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("latin1") + bytes(16)


def fields(descr: str, shape: str, fortran: str = "False") -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': ({shape})}}")


ONE = npy(np.zeros(2, "f4"))


def zipped(*members: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "x{}.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for number, content in enumerate(members):
            archive.writestr(name.format(number or ""), content)
    return file.getvalue()


def zip64(record: bytes, at: int, value: int) -> bytes:
    """Returns an archive with zip64 fields, of which one is not true."""
    data = bytearray(bytes(zip_archives.archive([("x.npy", Rope([ONE]))])))
    struct.pack_into("<Q", data, data.rindex(record) + at, value)
    return bytes(data)


def tensors(table: object, nbytes: int = 8) -> bytes:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + bytes(nbytes)


def tensor(begin: int, end: int, *shape: float) -> dict[str, object]:
    return {"dtype": "F32", "shape": shape or (2,), "data_offsets": (begin, end)}


NPZ: dict[str, Callable[[], bytes]] = {
    "20,000 members": lambda: zipped(*[ONE] * 20_000),
    "bzip2": lambda: zipped(ONE, method=zipfile.ZIP_BZIP2),
    "lzma": lambda: zipped(ONE, method=zipfile.ZIP_LZMA),
    "objects": lambda: zipped(npy(np.array([{}, 1], object))),
    "a directory": lambda: zipped(b"", name="x/"),
    "an empty member": lambda: zipped(b""),
    "a zip in a zip": lambda: zipped(zipped(ONE)),
    "a name of zeros": lambda: zipped(ONE).replace(b"x.npy", bytes(5)),
    "half a header": lambda: zipped(ONE[:50]),
    "two arrays in one member": lambda: zipped(ONE + ONE),
    "only the magic": lambda: b"PK" * 100_000,
    "end records": lambda: b"PK\5\6" * 50_000,
    "an odd extra field": lambda: zip64(b"\1\0\30\0", 0, 0x17_0001),
    "a long extra field": lambda: zip64(b"\1\0\30\0", 0, 0xF000_0001),
    **{
        f"zip64: {what} {value:#x}": lambda at=at, record=record, value=value: zip64(  # type: ignore[misc]
            record, at, value
        )
        for what, record, at in (
            ("size", b"PK\1\2", 55),
            ("packed size", b"PK\1\2", 63),
            ("offset", b"PK\1\2", 71),
            ("locator", b"PK\6\7", 8),
            ("count", b"PK\6\6", 32),
            ("directory", b"PK\6\6", 48),
        )
        for value in (0, 1, 1 << 32, WIDE, 2 * WIDE - 1)
    },
}
NPY: dict[str, Callable[[], bytes]] = {
    "objects": lambda: npy(np.array([{}, 1], object)),
    "a record type": lambda: npy(np.zeros(2, [("a", "f4"), ("b", "i4")])),
    "3,000 dimensions": lambda: fields("<f4", "1," * 3000),
    "a negative size": lambda: fields("<f4", "-1,"),
    "more than exists": lambda: fields("<f4", f"{WIDE},{WIDE}"),
    "nothing of much": lambda: fields("<f4", f"0,{WIDE}"),
    "brackets": lambda: header("{'descr': " + "(" * 9000),
    "spaces": lambda: header("{" + " " * 9000),
    "a key twice": lambda: header("{'descr': '<f4', 'descr': '<f8', 'shape': (2,)}"),
    "text elements": lambda: fields("<U8", "2,"),
    "times": lambda: fields("<M8[ns]", "2,"),
    "big-endian pairs": lambda: fields(">c8", "2,", "True"),
    "20,000 empty arrays": lambda: fields("<f4", "0,")[:-16] * 20_000,
    "version 9": lambda: ONE[:6] + b"\x09\x00" + ONE[8:],
}
SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "a name twice": lambda: tensors(
        b'{"x":%b,"x":%b}' % ((json.dumps(tensor(0, 8)).encode(),) * 2)
    ),
    "a negative offset": lambda: tensors({"x": tensor(-8, 0)}),
    "a large offset": lambda: tensors({"x": tensor(0, 2 * WIDE)}),
    "a large shape": lambda: tensors({"x": tensor(0, 8, WIDE, WIDE, 0)}),
    "a negative shape": lambda: tensors({"x": tensor(0, 8, -2, -1)}),
    "a broken size": lambda: tensors({"x": tensor(0, 8, 2.5)}),
    "a gap": lambda: tensors({"x": tensor(8, 16)}, 16),
    "a surrogate": lambda: tensors({"\ud800": tensor(0, 8)}),
    "a zero": lambda: tensors({"\0": tensor(0, 8)}),
    "a list": lambda: tensors(b"[1]"),
    "nothing": lambda: tensors({}, 0),
    "a long number": lambda: tensors(b'{"x":{"dtype":"F32","shape":[%b]}}' % (b"9" * 5000)),
    "deep metadata": lambda: tensors(b'{"__metadata__":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a long name": lambda: tensors({"x" * 500_000: tensor(0, 8)}),
}
TEXT: dict[str, Callable[[], bytes]] = {
    "a long string": lambda: b'["' + b"a" * 500_000 + b'"]',
    "escapes": lambda: b'["' + rb"\u0041" * 100_000 + b'"]',
    "surrogates": lambda: b'["' + rb"\ud800" * 20_000 + b'"]',
    "a surrogate": lambda: rb'"\ud800"',
    "lines of Windows": lambda: b"1\r\n2\r\n",
    "exponents": lambda: b"[" + b"1e999999999999," * 9000 + b"1e-99999999999999]",
    "digits": lambda: b"9" * 500_000,
    "digits in a list": lambda: b"[" + b"9" * 20_000 + b", 1]",
    "a byte order mark": lambda: b"\xef\xbb\xbf1 2",
    "UTF-16": lambda: "1 2".encode("utf-16"),
    "no UTF-8": lambda: b"\xff\xfe",
    "other digits": "\u0661 \u0662".encode,
    "a csv": lambda: b"1,2\n3,4\n",
    "a wide csv": lambda: b"1," * 400_000 + b"1\n",
    "spaces": lambda: b" " * 800_000 + b"1",
    "newlines": lambda: b"\n" * 800_000,
    "an open string": lambda: b'"' + b"\\" * 500_000,
    "too deep": lambda: b"[" * 65 + b"1" + b"]" * 65,
    "ragged": lambda: b"[" + b"[1,2]," * 20_000 + b"[1]]",
    "references": lambda: b"arrays/x " * 60_000,
    "a long reference": lambda: b"arrays/" + b"x" * 600,
    "commas": lambda: b"[" + b"," * 50_000 + b"]",
    "strings": lambda: b"[" + b'"1",' * 20_000 + b'"2"]',
    "nulls": lambda: b"[" + b"null," * 20_000 + b"null]",
    "an open list": lambda: b"[" + b"1," * 20_000,
    "a zero": lambda: b"[" + b"1," * 20_000 + b"\0]",
}
HOSTILE = [
    (name, kind, make)
    for name, rows in (("npz", NPZ), ("npy", NPY), ("safetensors", SAFETENSORS), ("json", TEXT))
    for kind, make in rows.items()
]


@pytest.mark.parametrize(
    ("name", "kind", "make"), HOSTILE, ids=[f"{name} {kind}" for name, kind, _ in HOSTILE]
)
def test_hostile_data_is_read_or_refused_at_little_cost(
    name: str, kind: str, make: Callable[[], bytes]
) -> None:
    data = memoryview(make())
    detect_file(data)
    assert peak(lambda: infer(name, data)) < ALLOWED + 10 * len(data), kind
    assert peak(lambda: references(data)) < ALLOWED, kind
    for params in PROGRAMS:
        assert peak(lambda params=params: checked(name, data, params)) < ALLOWED + len(data), kind  # type: ignore[misc]


def checked(name: str, data: memoryview, params: list[Param]) -> None:
    """Decodes data; what is taken has the types of the parameters."""
    try:
        found = decode(name, data, params)
    except JaxfsError:
        return
    avals = [one.aval for one in found if isinstance(one, TypedBuffer)]
    assert len(avals) < len(found) or avals == [param.aval for param in params]
