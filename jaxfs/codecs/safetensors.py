""".safetensors: a JSON table of names, types and offsets, then the bytes.  Exact for bf16 and fp8.

Format: https://github.com/huggingface/safetensors#format.  It is small, and its Python package
reads only the types that numpy has; so header and data are parsed here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from jaxfs.codecs.diagnostics import in_signature_order, member_names, mismatch, sliced, wrong_count
from jaxfs.codecs.pieces import blocks
from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval
from jaxfs.types.buffers import Argument, Parameter, Rope, TakePlace, TypedBuffer

MAX_HEADER_BYTES = 16 << 20  # of the 100 MB that the format allows; some 160,000 tensors
_FORMAT_HEADER_BYTES = 100_000_000
MAX_RANK = 64  # as many dimensions as numpy has
_LENGTH = struct.Struct("<Q")
_ALIGNMENT = 8  # of the data; the reference writer pads its header with spaces
_METADATA = "__metadata__"
# without F4: the format packs two elements in a byte, memory has one in each
DTYPES = {
    "BOOL": "bool",
    "I8": "i8",
    "I16": "i16",
    "I32": "i32",
    "I64": "i64",
    "U8": "u8",
    "U16": "u16",
    "U32": "u32",
    "U64": "u64",
    "F8_E4M3": "f8_e4m3fn",
    "F8_E5M2": "f8_e5m2",
    "F8_E8M0": "f8_e8m0fnu",
    "F8_E4M3FNUZ": "f8_e4m3fnuz",
    "F8_E5M2FNUZ": "f8_e5m2fnuz",
    "BF16": "bf16",
    "F16": "f16",
    "F32": "f32",
    "F64": "f64",
    "C64": "c64",
}
_MANY = 1 << 16  # tensors
_COUNTED_BYTES = 1 << 16  # of a header at once: depths take ten times as much
_TENSOR_NAME = re.compile(rb'("(?:[^"\\]++|\\.)*+")\s*:\s*\{', re.DOTALL)
_BYTES = np.arange(256)
_NESTING = np.isin(_BYTES, list(b"[{")).astype(np.int32) - np.isin(_BYTES, list(b"]}"))
_Params = Sequence[Parameter] | None
_NAMES = {short: name for name, short in DTYPES.items()}


class TensorEntry(msgspec.Struct, frozen=True):
    """The entry of one tensor in the header, with the format's names.

    Attributes:
        dtype: A key of ``DTYPES``.
        shape: The sizes of its dimensions.
        data_offsets: Where its bytes begin and end, counted from the end of the header.
    """

    dtype: str
    shape: Annotated[tuple[int, ...], msgspec.Meta(max_length=MAX_RANK)]
    data_offsets: tuple[int, int]

    def __str__(self) -> str:
        return f"{DTYPES.get(self.dtype, self.dtype)}[{','.join(map(str, self.shape))}]"


def check(params: Sequence[Parameter]) -> None:
    """Checks that the format has a name for each type.

    Raises:
        Invalid: An output's type has none.
    """
    for param in params:
        if param.aval.dtype not in _NAMES:
            raise Invalid(f"safetensors cannot name {param.aval} {param.name}; take .npz or .raw")


def is_likely(data: memoryview) -> bool:
    """Returns whether a whole file begins with a possible length and the header's brace."""
    if len(data) <= _LENGTH.size:
        return False
    (nbytes,) = _LENGTH.unpack_from(data)
    return nbytes <= len(data) - _LENGTH.size and data[_LENGTH.size] == ord("{")


def encode(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns the outputs by name, or as arr_0, arr_1 ... if they have none."""
    return Rope([_header(params), *(buffer.data for buffer in buffers)])


def size(params: Sequence[Parameter]) -> int:
    """Returns the exact length of ``encode``, in bytes."""
    return len(_header(params)) + sum(p.aval.nbytes for p in params)


def _header(params: Sequence[Parameter]) -> bytes:
    entries: dict[str, TensorEntry] = {}
    end = 0
    for name, param in zip(member_names(params), params, strict=True):
        start, end = end, end + param.aval.nbytes
        entries[name] = TensorEntry(_NAMES[param.aval.dtype], param.aval.shape, (start, end))
    text = msgspec.json.encode(entries)
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def decode(data: memoryview, params: Sequence[Parameter], _take: TakePlace) -> list[Argument]:
    """Returns the inputs by name, as slices of ``data``.

    Raises:
        Invalid: The header is damaged, or the tensors are not the inputs.
    """
    start, entries = _whole_header(data, params)
    offsets = _offsets(params, entries)
    end = start + sum(p.aval.nbytes for p in params)
    arguments: list[Argument] = [
        sliced(i, param, data, start + begin)
        for i, (param, begin) in enumerate(zip(params, offsets, strict=True))
    ]
    if len(data) > end:
        raise wrong_count(params, f"{len(data) - end} trailing bytes after them")
    return arguments


def types(data: memoryview) -> list[tuple[str, Aval]]:
    """Returns the names and types of the tensors, in the order of their bytes.

    Raises:
        Invalid: The header is damaged, or a tensor has another type than JAX's.
    """
    start, found = _whole_header(data)
    entries = sorted(found.items(), key=lambda item: item[1].data_offsets)
    for name, entry in entries:
        if entry.dtype not in DTYPES:
            raise Invalid(f"tensor {name!r} has the type {entry.dtype}, which is not supported")
    _check_ranges(found, len(data) - start)
    return [(name, Aval(DTYPES[entry.dtype], entry.shape)) for name, entry in entries]


def _offsets(params: Sequence[Parameter], entries: dict[str, TensorEntry]) -> list[int]:
    """Returns where the bytes of each parameter begin, counted from the end of the header.

    Raises:
        Invalid: A tensor has another name, type or length than its parameter.
    """
    offsets = []
    for index, name in enumerate(in_signature_order(params, list(entries))):
        entry, param = entries[name], params[index]
        begin, end = entry.data_offsets
        if (DTYPES.get(entry.dtype), entry.shape) != (param.aval.dtype, param.aval.shape):
            raise mismatch(index, param, str(entry))
        if begin < 0 or end - begin != param.aval.nbytes:
            found = f"bytes {begin} to {end} instead of {param.aval.nbytes} bytes"
            raise mismatch(index, param, found)
        offsets.append(begin)
    _check_ranges(entries, sum(param.aval.nbytes for param in params))
    return offsets


def _check_ranges(entries: Mapping[str, TensorEntry], nbytes: int) -> None:
    """Checks that the tensors together are the data, each byte once, as the format demands.

    Args:
        entries: The tensors.
        nbytes: The length of the data.

    Raises:
        Invalid: A byte belongs to two tensors or to none.
    """
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, after = entry.data_offsets
        if begin < end:
            raise Invalid(f"tensor {name!r} begins within another one, at {begin}")
        if begin > end or after < begin:
            raise Invalid(
                f"tensor {name!r} is bytes {begin} to {after} of the data; it has to begin at "
                f"{end}, where the tensor before it ends"
            )
        end = after
    if end < nbytes:
        raise Invalid(f"{nbytes - end} trailing bytes, which belong to no tensor")


def _whole_header(data: memoryview, params: _Params = None) -> tuple[int, dict[str, TensorEntry]]:
    """Returns what ``_read_header`` does, for a file that is complete.

    Raises:
        Invalid: The header is damaged or incomplete, or has more tensors than expected.
    """
    found = _read_header(data, params)
    if found is None:
        raise Invalid("expected a safetensors header, got truncated data")
    return found


def _read_header(data: memoryview, params: _Params) -> tuple[int, dict[str, TensorEntry]] | None:
    """Returns the offset of the data, and the tensors; None while the header is incomplete.

    Args:
        data: What there is of the file.
        params: What the tensors have to be; None if nothing is known.

    Raises:
        Invalid: The header is damaged, or has more tensors than expected.
    """
    if len(data) < _LENGTH.size:
        return None
    (nbytes,) = _LENGTH.unpack_from(data)
    brace = bytes(data[_LENGTH.size : _LENGTH.size + 1])
    if nbytes > _FORMAT_HEADER_BYTES or brace not in (b"", b"{"):
        raise Invalid(
            "expected .safetensors data, which begins with the length of its header and "
            f"a brace, got {bytes(data[: _LENGTH.size + 1])!r}"
        )
    if nbytes > MAX_HEADER_BYTES:
        raise Invalid(
            f"a safetensors header of {nbytes} bytes; at most {MAX_HEADER_BYTES} are read: "
            "write fewer tensors to one file, or shorter metadata"
        )
    start = _LENGTH.size + nbytes
    return (start, _entries(data[_LENGTH.size : start], params)) if len(data) >= start else None


def _entries(header: memoryview, params: _Params) -> dict[str, TensorEntry]:
    try:
        count = _key_count(header)
        if count > _MANY + 1:
            raise Invalid(f"{count} tensors in one file; at most {_MANY} are read")
        table = msgspec.json.decode(header, type=dict[str, msgspec.Raw])
        if len(table) < count:
            raise Invalid(f"the header has {_repeated(header)} twice; a name is one tensor's")
        table.pop(_METADATA, None)
        if params is not None and len(table) > len(params):
            in_signature_order(params, list(table))  # raises, before there is an object for each
        return {name: msgspec.json.decode(raw, type=TensorEntry) for name, raw in table.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"a damaged safetensors header: {error}") from error


def _key_count(header: memoryview) -> int:
    """Returns how many keys a JSON object has, each as often as it is there.

    Readers of JSON keep only the last value of a key, others its first: a name twice would be a
    tensor here, and another one elsewhere.
    """
    text = bytes(header).replace(b"\\\\", b"__").replace(b'\\"', b"__")  # no escapes
    commas, depth, quotes = 0, 0, 0
    for block in blocks(memoryview(text), _COUNTED_BYTES):
        data: np.ndarray[Any, Any] = np.frombuffer(block, np.uint8)
        counts = quotes + np.cumsum(data == ord('"'), dtype=np.int32)
        is_outside = counts % 2 == 0
        depths = depth + np.cumsum(_NESTING[data] * is_outside, dtype=np.int32)
        commas += int(np.count_nonzero((data == ord(",")) & is_outside & (depths == 1)))
        depth, quotes = int(depths[-1]), int(counts[-1])
    return commas + (quotes > 0)


def _repeated(header: memoryview) -> str:
    """Returns the first name of a tensor that was there before, for messages."""
    seen = set[str]()
    for match in _TENSOR_NAME.finditer(header):
        name = msgspec.json.decode(match[1], type=str)
        if name in seen:
            return f"tensor {name[:40]!r}"
        seen.add(name)
    return "a name"


class SafetensorsFrames:
    """Finds the end of one request: its header, then as many bytes as the inputs have."""

    def __init__(self, params: Sequence[Parameter]) -> None:
        self._params = params

    def needed(self, buffer: memoryview) -> int | None:
        """Returns the request's length in bytes; None while its header is incomplete.

        Raises:
            Invalid: The header is damaged, or not that of the inputs.
        """
        found = _read_header(buffer, self._params)
        if found is None:
            return None
        start, entries = found
        _offsets(self._params, entries)
        return start + sum(p.aval.nbytes for p in self._params)
