""".npz: a zip of .npy files, one an array, by name."""

from __future__ import annotations

from collections.abc import Sequence

from jaxfs.codecs import npy
from jaxfs.codecs.archive import Member, archive, archive_bytes, read_member, read_members
from jaxfs.codecs.buffers import Argument, Parameter, Rope, TypedBuffer
from jaxfs.codecs.checks import in_signature_order, label, member_names, refuse
from jaxfs.codecs.npy_header import MAX_HEADER_BYTES, file_bytes
from jaxfs.errors import Invalid

_SUFFIX = ".npy"


def encode(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """The outputs by name, or as arr_0, arr_1 ... where they have none; nothing is packed."""
    files = [npy.encode([param], [b]) for param, b in zip(params, buffers, strict=True)]
    return archive(zip(_file_names(params), files, strict=True))


def size(params: Sequence[Parameter]) -> int:
    """The exact length of ``encode``, in bytes."""
    sizes = [file_bytes(p.aval) for p in params]
    return archive_bytes(zip(_file_names(params), sizes, strict=True))


def _file_names(params: Sequence[Parameter]) -> list[str]:
    return [name + _SUFFIX for name in member_names(params)]


def decode(data: memoryview, params: Sequence[Parameter]) -> list[Argument]:
    """The inputs by name.  Stored members are slices of ``data``, deflated ones unpacked.

    No member is unpacked beyond the size its parameter has.  Raises Invalid.
    """
    members = read_members(data, len(params) + 1)  # one more tells that there are too many
    found = [member.name.removesuffix(_SUFFIX) for member in members]
    by_name = dict(zip(found, members, strict=True))
    names = in_signature_order(params, found)
    return [_argument(data, by_name[name], i, params[i]) for i, name in enumerate(names)]


def _argument(data: memoryview, member: Member, index: int, param: Parameter) -> TypedBuffer:
    try:
        content, start = read_member(data, member, MAX_HEADER_BYTES + 12 + param.aval.nbytes)
    except Invalid as error:
        raise Invalid(f"{label(index, param)}: {error.reason}") from error
    found, end = npy.decode_one(content, 0, index, param)
    if end < len(content):
        raise refuse(index, param, f"{len(content) - end} bytes after it")
    if start is None or found.offset is None:
        return TypedBuffer(found.aval, found.data)
    return TypedBuffer(found.aval, found.data, start + found.offset)
