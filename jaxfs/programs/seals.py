"""Checksums in the documents of the state directory.

A sealed document is a JSON object whose last field, ``checksum``, is the SHA-256 of the document's
name and of all before that field.  The name is part of it, so that a good file in the wrong place
is found out too.  Documents of versions before the seals have none.
"""

from __future__ import annotations

import hashlib
import re

_FIELD = b',"checksum":"'
_SEAL = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\Z')
_SEAL_BYTES = len(_FIELD) + 64 + 2


class Damaged(Exception):
    """The content of a file is not what was written there."""


def seal(name: str, document: bytes) -> bytes:
    """Returns a JSON object with its checksum as the last field.

    Args:
        name: The document's place in the state directory.
        document: A JSON object with at least one field, as msgspec encodes it.

    >>> data = seal("links/a.json", b'{"name":"a"}')
    >>> is_sealed("links/a.json", data), is_sealed("links/a.json", b'{"name":"a"}')
    (True, False)
    >>> is_sealed("links/b.json", data)
    Traceback (most recent call last):
    jaxfs.programs.seals.Damaged: its checksum differs
    """
    return b"".join([document[:-1], _FIELD, _checksum(name, document), b'"}'])


def is_sealed(name: str, data: bytes) -> bool:
    """Returns whether a document has a checksum, which is then right.

    Raises:
        Damaged: It has another one.
    """
    end = data[-_SEAL_BYTES:]
    found = _SEAL.match(end)
    if found is None:
        if b'"checksum"' in data[-2 * _SEAL_BYTES :]:
            raise Damaged("its checksum is cut")
        return False
    if _checksum(name, data[:-_SEAL_BYTES] + b"}") != found[1]:
        raise Damaged("its checksum differs")
    return True


def _checksum(name: str, document: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + document).hexdigest().encode()
