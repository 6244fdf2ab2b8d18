""".npz: a zip of .npy files, one for each array, by name; `zip_archives` reads and writes them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from jaxfs.codecs import npy
from jaxfs.codecs.diagnostics import (
    checked_buffer,
    in_signature_order,
    label,
    member_names,
    mismatch,
)
from jaxfs.codecs.foreign_files import check_archive
from jaxfs.codecs.npy import MAX_HEADER_BYTES, file_bytes
from jaxfs.codecs.zip_archives import (
    STORED,
    Member,
    archive,
    archive_bytes,
    packed,
    read_member,
    read_members,
)
from jaxfs.errors import Invalid
from jaxfs.types.buffers import (
    FOR_A_WHILE,
    Argument,
    Parameter,
    Rope,
    TakePlace,
    TypedBuffer,
)

_SUFFIX = ".npy"


def encode(params: Sequence[Parameter], buffers: Sequence[TypedBuffer]) -> Rope:
    """Returns the outputs by name, or as arr_0, arr_1 ... if they have none; not deflated."""
    files = [npy.encode([param], [b]) for param, b in zip(params, buffers, strict=True)]
    return archive(zip(_file_names(params), files, strict=True))


def size(params: Sequence[Parameter]) -> int:
    """Returns the exact length of ``encode``, in bytes."""
    sizes = [file_bytes(p.aval) for p in params]
    return archive_bytes(zip(_file_names(params), sizes, strict=True))


def _file_names(params: Sequence[Parameter]) -> list[str]:
    return [name + _SUFFIX for name in member_names(params)]


def decode(data: memoryview, params: Sequence[Parameter], take: TakePlace) -> list[Argument]:
    """Returns the inputs by name: slices of ``data`` if stored, inflated to places if deflated.

    No member is inflated beyond the size of its parameter.

    Raises:
        Invalid: The archive is damaged, or its members are not the inputs.
    """
    members = read_members(data, len(params) + 1)  # one more shows that there are too many
    check_archive(member.name for member in members)
    found = [member.name.removesuffix(_SUFFIX) for member in members]
    by_name = dict(zip(found, members, strict=True))
    names = in_signature_order(params, found)
    return [_argument(data, by_name[name], i, params[i], take) for i, name in enumerate(names)]


def _argument(
    data: memoryview, member: Member, index: int, param: Parameter, take: TakePlace
) -> TypedBuffer:
    content_pieces = read_member(data, member, MAX_HEADER_BYTES + 12 + param.aval.nbytes)
    pieces = _labelled(content_pieces, index, param)
    if member.method != STORED:
        return _unpacked(pieces, member.nbytes, index, param, take)
    for _ in pieces:  # compares the CRC-32
        pass
    start, content = packed(data, member)
    found, end = npy.decode_one(content, 0, index, param, take)
    _check_length(end, len(content), index, param)
    if found.offset is None:
        return found
    return TypedBuffer(found.aval, found.data, start + found.offset)


def _labelled(pieces: Iterator[memoryview], index: int, param: Parameter) -> Iterator[memoryview]:
    """Yields pieces; the reason of an error names the parameter."""
    try:
        yield from pieces
    except Invalid as error:
        raise Invalid(f"{label(index, param)}: {error.reason}") from error


def _unpacked(
    pieces: Iterator[memoryview], nbytes: int, index: int, param: Parameter, take: TakePlace
) -> TypedBuffer:
    """Returns an array in a place of its own, to which the pieces of its file are written.

    Args:
        pieces: The content of a .npy file; at most ``nbytes`` and one byte.
        nbytes: Its length, as the archive has it.
        index: The number of the array.
        param: Its parameter.
        take: Returns memory.
    """
    head, header = b"", None
    for piece in pieces:
        head += piece
        header = npy.checked_header(memoryview(head), index, param)
        if header is not None:
            break
    if header is None:
        raise Invalid(f"{label(index, param)}: the .npy header is truncated")
    aval = param.aval
    _check_length(header.nbytes + aval.nbytes, nbytes, index, param)
    place, end = take(FOR_A_WHILE if header.is_transposed else index, aval.nbytes), 0
    for piece in itertools.chain([memoryview(head)[header.nbytes :]], pieces):
        part = piece[: aval.nbytes - end]  # the archive may have lied: `pieces` raises in the end
        place.write(end, part)
        end += len(part)
    checked_buffer(index, param, place.view())
    return npy.in_memory_order(header, TypedBuffer(aval, place.view(), None, place), index, take)


def _check_length(expected: int, found: int, index: int, param: Parameter) -> None:
    """Compares the length of a .npy file with that of its array.

    Raises:
        Invalid: They differ.
    """
    if found > expected:
        raise mismatch(index, param, f"{found - expected} bytes after it")
    if found < expected:
        nbytes = param.aval.nbytes
        part = f"{max(nbytes - (expected - found), 0)} of its {nbytes} bytes"
        raise mismatch(index, param, f"{part}: the data is truncated")
