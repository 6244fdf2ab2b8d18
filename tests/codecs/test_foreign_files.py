"""Files of other tools are read, or refused with what they are and what to do."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from jaxfs.codecs.formats import decode
from jaxfs.codecs.infer import infer
from jaxfs.codecs.text_input import references
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Reference
from jaxfs.types.signature import Param
from tests.codecs.values import decode_buffers

X = [Param("x", Aval("f32", (2, 2)))]
XY = [Param("x", Aval("f32", (2,))), Param("y", Aval("f32", (2,)))]
FILES = {
    "PNG": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(40)), "a PNG image .* PIL .* npy"),
    "JPEG": (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "a JPEG image"),
    "GIF": (b"GIF89a\1\0", "a GIF image"),
    "TIFF": (b"II*\0\x08", "a TIFF image"),
    "WAV": (b"RIFF$\0\0\0WAVEfmt ", "a RIFF file, .* samples"),
    "PDF": (b"%PDF-1.4\n", "a PDF document"),
    "HDF5": (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file .* h5py"),
    "Parquet": (b"PAR1\x15\4", "a Parquet file .* pandas"),
    "pickle": (b"\x80\4\x95\0\0", "a pickle .* not unpickled"),
    "gzip": (b"\x1f\x8b\x08\0", "a gzip file .* unpack it"),
    "UTF-16": ("[[1, 2], [3, 4]]".encode("utf-16"), "text in UTF-16 .* PowerShell"),
    "HTML": (b"<!DOCTYPE html><html>", "HTML or XML"),
    "CSV": (b"1,2\n3,4\n5,6\n", "CSV.* np.loadtxt"),
    "CSV of one line": (b"1,2,3,4\n", "CSV"),
    "CSV with CRLF": (b"1,2\r\n3,4\r\n", "CSV"),
    "CSV with a header": (b"a,b\n1,2\n3,4\n", "CSV"),
    "CSV with an index": (b",a,b\n0,1,2\n1,3,4\n", "CSV"),
    "CSV with quotes": (b'"1","2"\n"3","4"\n', "CSV"),
    "CSV with thousands": (b'"1,000",2\n3,4\n', "CSV"),
    "CSV with semicolons": (b"1,5;2,5\n3,5;4,5\n", "CSV"),
    "CSV with a mark": (b"\xef\xbb\xbf1,2\n3,4\n", "CSV"),
    "comments": (b"# a b\n1 2\n3 4\n", "text with comments"),
    "MatrixMarket": (b"%%MatrixMarket matrix\n2 2\n", "text with comments"),
    "a printed array": (b"[[1. 2.]\n [3. 4.]]", "a list without commas, as numpy prints it"),
    "safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"x":{', "a .safetensors file .* call.safetensors"),
    "an object": (b'{"x": [[1, 2], [3, 4]]}', "a JSON object: .* in their order"),
}


def read(data: bytes, params: list[Param] | None) -> None:
    """Does what a call does; without types, if there are no parameters."""
    references(memoryview(data))
    decode("json", data, infer("json", memoryview(data)) if params is None else params)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_another_format_is_named_with_what_to_do(kind: str) -> None:
    data, words = FILES[kind]
    for params in (X, XY, None):
        with pytest.raises(Invalid, match=words.replace(" .* ", ".*")):
            read(data, params)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("archive/data.pkl", "a checkpoint of PyTorch .*safetensors"),
        ("[Content_Types].xml", "an office document .*pandas"),
    ],
)
def test_archives_of_other_tools_are_named(member: str, words: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(member, b"x")
    for params in (X, XY):
        with pytest.raises(Invalid, match=words):
            decode("npz", file.getvalue(), params)
    with pytest.raises(Invalid, match=words):
        infer("npz", memoryview(file.getvalue()))


def test_data_under_the_name_of_another_format_is_shown() -> None:
    for data in (b"[[1, 2], [3, 4]]", b"\x93NUMPY\1\0v\0{", b"PK\3\4" + bytes(9) + b"\1\1\1"):
        for name, start in (("safetensors", "b'"), ("npy", "b'"), ("npz", "no end record")):
            if name != "npy" or not data.startswith(b"\x93NUMPY"):
                with pytest.raises(Invalid, match=f"expected .*{start}"):
                    decode(name, data, X)


def test_rows_of_numbers_are_refused_with_how_to_write_lists() -> None:
    for data in (b"1 2\n3 4\n", b"1\t2\r\n3\t4\r\n", b" 1.5 -2\n 3 4e5\n"):
        with pytest.raises(Invalid, match=r"got 4; it looks like rows .* \[\[1, 2\], \[3, 4\]\]"):
            decode("json", data, X)


def test_text_of_windows_programs_is_read() -> None:
    mark = b"\xef\xbb\xbf"
    for data in (b"[[1, 2],\r\n [3, 4]]\r\n", json.dumps([[1, 2], [3, 4]]).encode()):
        [found] = decode_buffers("json", mark + data, X)
        assert found.array().tolist() == [[1, 2], [3, 4]]
        assert infer("json", memoryview(mark + data))[0].aval.shape == (2, 2)
    assert references(memoryview(mark + b"arrays/w")) == {"arrays/w"}
    assert decode("json", mark + b"arrays/w", X) == [Reference("arrays/w")]


def test_a_number_that_is_out_of_range_is_only_that() -> None:
    with pytest.raises(Invalid, match=r"got 1e400, which is out of range$"):
        decode("json", b"1 2\n3 1e400\n", [Param("x", Aval("f32", (4,)))])


@pytest.mark.parametrize("piece", [b"1,", b"1 ", b"a;", b"[", b"[1 ", b"#", b"- ", b"\n"])
def test_long_data_is_recognized_in_little_time(piece: bytes) -> None:
    data = memoryview(piece * 200_000 + b"]}\n")
    with pytest.raises(Invalid):
        decode("json", data, XY)


def test_csv_that_numpy_made_comes_back_as_npy_of_it(tmp_path: object) -> None:
    array = np.arange(4, dtype="f4").reshape(2, 2)
    np.savetxt(f"{tmp_path}/x.csv", array, delimiter=",")
    np.save(f"{tmp_path}/x.npy", np.loadtxt(f"{tmp_path}/x.csv", delimiter=",").astype("f4"))
    with open(f"{tmp_path}/x.npy", "rb") as file:
        assert decode_buffers("npy", file.read(), X)[0].array().tolist() == array.tolist()
