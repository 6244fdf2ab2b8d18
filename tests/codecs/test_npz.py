"""npz and safetensors, against the libraries others use for them."""

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import pytest
import safetensors as reference
import safetensors.numpy as reference_numpy
from hypothesis import given
from hypothesis import strategies as st

from jaxfs.codecs import safetensors, zip_archives
from jaxfs.codecs.diagnostics import member_names
from jaxfs.codecs.formats import encode, encoded_size
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Rope
from jaxfs.types.signature import Param
from tests.codecs.values import Values, buffer_of, decode_buffers, values

X, Y = Param("x", Aval("f32", (2,))), Param("y", Aval("i32", ()))
ARRAYS = {"x": np.array([1, 2], "f4"), "y": np.array(3, "i4")}


def savez(save: Callable[..., None] = np.savez, *args: np.ndarray, **kwargs: np.ndarray) -> bytes:
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


@given(values())
def test_numpy_and_zipfile_read_what_is_written(drawn: Values) -> None:
    params, buffers = drawn
    data = bytes(encode("npz", params, buffers))
    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    loaded = np.load(io.BytesIO(data))
    assert loaded.files == list(member_names(params))
    for name, buffer in zip(loaded.files, buffers, strict=True):
        assert loaded[name].tobytes() == bytes(buffer.data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", [("x", "y"), ("y", "x")])
def test_what_numpy_writes_is_read_by_name(
    save: Callable[..., None], order: tuple[str, str]
) -> None:
    found = decode_buffers("npz", savez(save, **{name: ARRAYS[name] for name in order}), [X, Y])
    assert [f.array().tolist() for f in found] == [[1, 2], 3]


@pytest.mark.parametrize("params", [[X, Y], [Param("", X.aval), Param("", Y.aval)]])
def test_positional_names_are_taken_in_order(params: list[Param]) -> None:
    found = decode_buffers("npz", savez(np.savez, ARRAYS["x"], ARRAYS["y"]), params)
    assert [f.array().tolist() for f in found] == [[1, 2], 3]


def test_a_stored_member_is_not_copied_and_a_deflated_one_has_no_offset() -> None:
    [stored] = decode_buffers("npz", savez(np.savez, x=ARRAYS["x"]), [X])
    [deflated] = decode_buffers("npz", savez(np.savez_compressed, x=ARRAYS["x"]), [X])
    assert stored.offset is not None
    assert deflated.offset is None


def test_other_names_are_refused_with_both_sets_named() -> None:
    with pytest.raises(Invalid, match=r"expected 2 inputs \(x f32.*\), got the names x, z"):
        decode_buffers("npz", savez(np.savez, x=ARRAYS["x"], z=ARRAYS["y"]), [X, Y])


def test_a_zip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = list[memoryview]()
    inflate = zip_archives._inflate

    def recorded_inflate(data: memoryview, size: int) -> Iterator[memoryview]:
        unpacked.append(data)
        return inflate(data, size)

    monkeypatch.setattr(zip_archives, "_inflate", recorded_inflate)
    bomb = savez(np.savez_compressed, x=np.zeros(10_000_000, "f4"))
    with pytest.raises(Invalid, match="input 0 x: 40000128 bytes in the archive"):
        decode_buffers("npz", bomb, [X])
    assert not unpacked


def test_a_member_that_lies_about_its_size_is_not_unpacked_beyond_it() -> None:
    deflate = zlib.compressobj(wbits=-15)
    stored = deflate.compress(bytes(1 << 24)) + deflate.flush()
    assert sum(map(len, zip_archives._inflate(memoryview(stored), 100))) == 101


def test_many_members_are_refused_without_reading_them_all() -> None:
    data = bytes(zip_archives.archive((f"{i}.npy", Rope([b"x"])) for i in range(1000)))
    assert len(zip_archives.read_members(memoryview(data), 3)) == 3
    with pytest.raises(Invalid, match="expected 1 input"):
        decode_buffers("npz", data, [X])


def test_a_flipped_bit_is_found_by_its_crc() -> None:
    data = bytearray(encode("npz", [X], [buffer_of(ARRAYS["x"], "f32")]).read(0, 1 << 20))
    data[data.index(ARRAYS["x"].tobytes())] ^= 1
    with pytest.raises(Invalid, match="input 0 x: damaged"):
        decode_buffers("npz", bytes(data), [X])


def test_a_name_twice_is_refused() -> None:
    npy = encode("npy", [X], [buffer_of(ARRAYS["x"], "f32")])
    with pytest.raises(Invalid, match="got the names x, x"):
        decode_buffers("npz", bytes(zip_archives.archive([("x.npy", npy), ("x.npy", npy)])), [X])


def test_the_same_outputs_make_the_same_bytes() -> None:
    made = {bytes(encode("npz", [X], [buffer_of(ARRAYS["x"], "f32")])) for _ in range(2)}
    assert len(made) == 1


@pytest.mark.parametrize("names", [("x", "x"), ("", "y"), ("a\nb", "y"), ("__metadata__", "y")])
def test_unusable_names_give_way_to_positions(names: tuple[str, str]) -> None:
    assert member_names([Param(n, X.aval) for n in names]) == ("arr_0", "arr_1")


@given(values(dtypes=tuple(safetensors.DTYPES.values())))
def test_the_safetensors_package_reads_what_is_written(drawn: Values) -> None:
    params, buffers = drawn
    data = bytes(encode("safetensors", params, buffers))
    found = dict(reference.deserialize(data))
    assert found.keys() == set(member_names(params))
    for name, buffer in zip(member_names(params), buffers, strict=True):
        assert bytes(found[name]["data"]) == bytes(buffer.data)
        assert tuple(found[name]["shape"]) == buffer.aval.shape
        assert safetensors.DTYPES[found[name]["dtype"]] == buffer.aval.dtype


def test_what_the_safetensors_package_writes_is_read() -> None:
    data = reference_numpy.save(ARRAYS, metadata={"format": "pt"})
    assert [f.array().tolist() for f in decode_buffers("safetensors", data, [X, Y])] == [[1, 2], 3]


def test_bf16_keeps_its_type_in_safetensors() -> None:
    buffer = buffer_of(np.array([1, 2], ml_dtypes.bfloat16), "bf16")
    data = bytes(encode("safetensors", [Param("x", buffer.aval)], [buffer]))
    with pytest.raises(Invalid, match=r"input 0 x: expected f16\[2\], got bf16\[2\]"):
        decode_buffers("safetensors", data, [Param("x", Aval("f16", (2,)))])


@pytest.mark.parametrize("short", ["i4", "c128", "f8_e3m4", "f4_e2m1fn"])
def test_types_safetensors_cannot_name_are_refused_before_there_are_values(short: str) -> None:
    with pytest.raises(Invalid, match="safetensors cannot name"):
        encoded_size("safetensors", [Param("x", Aval(short, (2,)))])


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda s: st.lists(s, max_size=4))
)
def test_damaged_safetensors_entries_are_invalid(entry: object) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": entry}}).encode()
    if entry == [0, 8]:
        return
    with pytest.raises(Invalid):
        decode_buffers("safetensors", len(header).to_bytes(8, "little") + header + bytes(8), [X])
