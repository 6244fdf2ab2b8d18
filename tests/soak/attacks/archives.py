"""Zip archives (.npz) that are far larger inside than outside."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np

_LOCAL = struct.Struct("<IHHHHHIIIHH")
_CENTRAL = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_VERSION, _DEFLATED = 20, 8


def npz_bomb(nbytes: int) -> bytes:
    """Returns an archive of one array of zeros: 1/1000 of its size."""
    array = io.BytesIO()
    np.save(array, np.zeros(nbytes // 4, np.float32))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        file.writestr("x.npy", array.getvalue())
    return archive.getvalue()


def overlapping(nbytes: int, members: int) -> bytes:
    """Returns an archive whose members all are the same bytes of the file.

    Each is an array of so many bytes, deflated; each is named once more in the directory only.
    """
    array = io.BytesIO()
    np.save(array, np.zeros(nbytes // 4, np.float32))
    content = array.getvalue()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = deflate.compress(content) + deflate.flush()
    sizes = (zlib.crc32(content), len(packed), len(content))
    name = b"a0000.npy"
    local = _LOCAL.pack(0x04034B50, _VERSION, 0, _DEFLATED, 0, 0, *sizes, len(name), 0)
    directory = b"".join(_entry(b"a%04d.npy" % number, sizes) for number in range(members))
    start = len(local) + len(name) + len(packed)
    end = _END.pack(0x06054B50, 0, 0, members, members, len(directory), start, 0)
    return local + name + packed + directory + end


def _entry(name: bytes, sizes: tuple[int, int, int]) -> bytes:
    head = (0x02014B50, _VERSION, _VERSION, 0, _DEFLATED, 0, 0, *sizes, len(name))
    return _CENTRAL.pack(*head, 0, 0, 0, 0, 0, 0) + name
