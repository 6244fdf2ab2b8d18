"""Zip archives: their members, read with suspicion; and archives of stored members, written.

zip is PKWARE's APPNOTE.TXT, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.  Members
are written stored, with zip64 fields, so that every size is known beforehand and nothing is copied;
stored and deflated ones are read.  zipfile wants a file object and copies.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from jaxfs.codecs.pieces import BLOCK_BYTES, blocks, checkpoint
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Bytes, Rope

MAGIC = b"PK"
_VERSION = 45  # the first that knows zip64
_UTF8 = 1 << 11
_ENCRYPTED = 1
_EPOCH = (1 << 5 | 1) << 16  # 1980-01-01 00:00 in MS-DOS form: the bytes depend on nothing else
STORED, _DEFLATED = 0, 8
_HUGE16, _HUGE32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 1  # the id of the extra field
_MAX_COMMENT_BYTES = 0xFFFF
_PACKED_BYTES = 1 << 14  # inflated at once: zlib copies what it has not come to
_START_BYTES = 1 << 14  # of a deflated member, in which its .npy header has to be

_LOCAL = struct.Struct("<4sHHHIIIIHH")
_LOCAL_EXTRA = struct.Struct("<HHQQ")
_CENTRAL = struct.Struct("<4sHHHHIIIIHHHHHII")
_CENTRAL_EXTRA = struct.Struct("<HHQQQ")
_END = struct.Struct("<4sHHHHIIH")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_EXTRA = struct.Struct("<HH")


class Member(msgspec.Struct, frozen=True):
    """One file of an archive: its entry in the central directory.

    Attributes:
        name: The file's name.
        method: Stored (0) or deflated (8).
        flags: The general purpose bits.
        crc: CRC-32 of the content.
        stored_bytes: Its length in the archive.
        nbytes: Its length when inflated.
        offset: Where its local header is.
        end: Where the next local header is, or the directory: it ends before that.
    """

    name: str
    method: int
    flags: int
    crc: int
    stored_bytes: int
    nbytes: int
    offset: int
    end: int = 0


def archive_bytes(members: Iterable[tuple[str, int]]) -> int:
    """Returns the exact length of an archive of (name, size) members, in bytes."""
    headers = _LOCAL.size + _LOCAL_EXTRA.size + _CENTRAL.size + _CENTRAL_EXTRA.size
    body = sum(headers + 2 * len(name.encode()) + nbytes for name, nbytes in members)
    return body + (_END64.size + _LOCATOR.size if body else 0) + _END.size


def archive(members: Iterable[tuple[str, Rope]]) -> Rope:
    """Returns a zip of the (name, content) members; their content is not copied."""
    pieces: list[Bytes] = []
    central: list[bytes] = []
    offset = 0
    for name, content in members:
        crc = 0
        for piece in content:
            crc = _crc32(memoryview(piece), crc)
        local = _local_header(name, content.nbytes, crc)
        pieces += [local, *content]
        central.append(_central_header(name, content.nbytes, crc, offset))
        offset += len(local) + content.nbytes
    return Rope([*pieces, *central, _end_records(len(central), sum(map(len, central)), offset)])


def _local_header(name: str, nbytes: int, crc: int) -> bytes:
    raw = name.encode()
    fixed = _LOCAL.pack(
        *(b"PK\x03\x04", _VERSION, _UTF8, STORED, _EPOCH, crc, _HUGE32, _HUGE32),
        *(len(raw), _LOCAL_EXTRA.size),
    )
    return fixed + raw + _LOCAL_EXTRA.pack(_ZIP64, _LOCAL_EXTRA.size - 4, nbytes, nbytes)


def _central_header(name: str, nbytes: int, crc: int, offset: int) -> bytes:
    raw = name.encode()
    fixed = _CENTRAL.pack(
        *(b"PK\x01\x02", _VERSION, _VERSION, _UTF8, STORED, _EPOCH, crc, _HUGE32, _HUGE32),
        *(len(raw), _CENTRAL_EXTRA.size, 0, 0, 0, 0, _HUGE32),
    )
    extra = _CENTRAL_EXTRA.pack(_ZIP64, _CENTRAL_EXTRA.size - 4, nbytes, nbytes, offset)
    return fixed + raw + extra


def _end_records(count: int, nbytes: int, offset: int) -> bytes:
    """Returns the records after a central directory of ``count`` entries at ``offset``."""
    if not count:  # numpy recognises an empty archive only by the plain record
        return _END.pack(b"PK\x05\x06", 0, 0, 0, 0, 0, 0, 0)
    end64 = _END64.pack(
        *(b"PK\x06\x06", _END64.size - 12, _VERSION, _VERSION, 0, 0),
        *(count, count, nbytes, offset),
    )
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, offset + nbytes, 1)
    end = _END.pack(b"PK\x05\x06", 0, 0, _HUGE16, _HUGE16, _HUGE32, _HUGE32, 0)
    return end64 + locator + end


def read_members(data: memoryview, limit: int) -> list[Member]:
    """Returns the first ``limit`` members of an archive.

    Raises:
        Invalid: The data is no archive, or damaged, or its members overlap.
    """
    try:
        count, offset = _find_directory(data)
        found = list(itertools.islice(_directory(data, offset, count), limit))
    except struct.error as error:
        raise Invalid("a damaged zip archive: a record lies outside of the file") from error
    return _apart(found, offset)


def _apart(members: Sequence[Member], directory: int) -> list[Member]:
    """Returns the members with their ends.

    One stretch of packed bytes in many members would be inflated many times.

    Args:
        members: The members of an archive.
        directory: Where its central directory is.

    Raises:
        Invalid: Two members share bytes.
    """
    ordered = sorted(members, key=lambda member: member.offset)
    end_of = {}
    for member, following in itertools.zip_longest(ordered, ordered[1:]):
        end_of[member.offset] = directory if following is None else following.offset
        if following and member.offset + _LOCAL.size + member.stored_bytes > following.offset:
            raise Invalid(f"members {member.name!r} and {following.name!r} overlap in the archive")
    return [msgspec.structs.replace(member, end=end_of[member.offset]) for member in members]


def _find_directory(data: memoryview) -> tuple[int, int]:
    """Returns the number of members and the offset of the central directory."""
    tail = bytes(data[-(_END.size + _MAX_COMMENT_BYTES) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise Invalid("expected a zip archive (.npz), found no end record: is it truncated?")
    position = len(data) - len(tail) + found
    *_, count, _, offset, _ = _END.unpack_from(data, position)
    if position >= _LOCATOR.size and (count == _HUGE16 or offset == _HUGE32):
        magic, _, position64, _ = _LOCATOR.unpack_from(data, position - _LOCATOR.size)
        if magic == b"PK\x06\x07":
            *_, count, _, offset = _END64.unpack_from(data, _inside(data, position64))
    return count, offset


def _inside(data: memoryview, offset: int) -> int:
    """Returns ``offset`` if it lies in ``data``: struct counts a negative one from the end.

    Raises:
        struct.error: It does not, as struct raises for what is beyond the end.
    """
    if not 0 <= offset < len(data):
        raise struct.error
    return offset


def _directory(data: memoryview, offset: int, count: int) -> Iterator[Member]:
    for _ in range(count):
        fields = _CENTRAL.unpack_from(data, _inside(data, offset))
        name_bytes, extra_bytes, comment_bytes = fields[9:12]
        if fields[0] != b"PK\x01\x02":
            raise Invalid("a damaged zip archive: its directory is not where it should be")
        start = offset + _CENTRAL.size
        extra = start + name_bytes
        sizes = _wide(bytes(data[extra : extra + extra_bytes]), fields[8], fields[7], fields[15])
        name = bytes(data[start:extra]).decode("utf-8", "replace")
        yield Member(name, fields[4], fields[3], fields[6], sizes[1], sizes[0], sizes[2])
        offset = extra + extra_bytes + comment_bytes


def _wide(extra: bytes, *sizes: int) -> list[int]:
    """Returns sizes and offset; the zip64 field has those that do not fit 32 bits."""
    position = 0
    while position + _EXTRA.size <= len(extra):
        kind, nbytes = _EXTRA.unpack_from(extra, position)
        position += _EXTRA.size
        if kind == _ZIP64:
            wide = iter(struct.unpack_from(f"<{nbytes // 8}Q", extra, position))
            return [next(wide, size) if size == _HUGE32 else size for size in sizes]
        position += nbytes
    return list(sizes)


def read_member(data: memoryview, member: Member, max_bytes: int) -> Iterator[memoryview]:
    """Yields a member's content in pieces: slices of ``data`` if it is stored.

    Args:
        data: The archive.
        member: One of its members.
        max_bytes: The longest content that is read.

    Raises:
        Invalid: The content is longer, damaged, encrypted or compressed by another method; after
            the last piece, its length or CRC-32 differ from the directory's.
    """
    _, stored = packed(data, member)
    if member.nbytes > max_bytes:
        raise Invalid(f"{member.nbytes} bytes in the archive, expected at most {max_bytes}")
    pieces = blocks(stored) if member.method == STORED else _inflate(stored, member.nbytes)
    crc, nbytes = 0, 0
    for piece in pieces:
        crc, nbytes = zlib.crc32(piece, crc), nbytes + len(piece)
        yield piece
    if nbytes != member.nbytes or crc != member.crc:
        raise Invalid("damaged: length or CRC-32 differ from the archive's directory")


def read_start(data: memoryview, member: Member, nbytes: int) -> memoryview:
    """Returns the first bytes of a member's content, at most ``nbytes``; only these are inflated.

    Raises:
        Invalid: The content is damaged, encrypted or compressed by another method.
    """
    _, stored = packed(data, member)
    if member.method == STORED:
        return stored[:nbytes]
    limit = min(nbytes, member.nbytes)
    return memoryview(b"".join(_inflate(stored[:_START_BYTES], limit)))[:nbytes]


def _crc32(data: memoryview, crc: int = 0) -> int:
    for block in blocks(data):
        crc = zlib.crc32(block, crc)
    return crc


def packed(data: memoryview, member: Member) -> tuple[int, memoryview]:
    """Returns where the packed bytes of a member begin, and the bytes.

    Raises:
        Invalid: They are encrypted, or not where the directory says.
    """
    if member.flags & _ENCRYPTED or member.method not in (STORED, _DEFLATED):
        raise Invalid("encrypted, or packed with a method other than stored and deflated")
    try:
        local = _LOCAL.unpack_from(data, _inside(data, member.offset))
    except struct.error as error:
        raise Invalid("its local header lies outside of the archive") from error
    start = member.offset + _LOCAL.size + local[8] + local[9]
    if local[0] != b"PK\x03\x04" or start + member.stored_bytes > member.end:
        raise Invalid("damaged: it overlaps another member, or has no header of its own")
    return start, data[start : start + member.stored_bytes]


def _inflate(stored: memoryview, nbytes: int) -> Iterator[memoryview]:
    """Yields the content of a deflated member, in pieces of up to a megabyte.

    At most one byte more than ``nbytes`` is produced, so that a damaged archive cannot fill memory.

    Raises:
        Invalid: It is no deflate stream.
    """
    left, inflate = nbytes + 1, zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for block in blocks(stored, _PACKED_BYTES):
            packed: Bytes = block
            while packed and left:
                piece = inflate.decompress(packed, min(left, BLOCK_BYTES))
                packed, left = inflate.unconsumed_tail, left - len(piece)
                checkpoint()
                yield memoryview(piece)
            if not left or inflate.eof:
                return
    except zlib.error as error:
        raise Invalid(f"its deflated content is damaged: {error}") from error
