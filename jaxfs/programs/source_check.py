"""A first look at a content that may be a program: cheap, before it is stored or parsed."""

from __future__ import annotations

from jaxfs.compiler.sources.detect import detect
from jaxfs.errors import Invalid

HEAD_BYTES = 1 << 16  # enough to find the format
_OFFSET_BYTES = 4  # of the root table, with which a jax.export artifact begins


def check_is_program(head: bytes, nbytes: int) -> None:
    """Checks that a content may be a program, without reading all of it.

    Args:
        head: Its first ``HEAD_BYTES``.
        nbytes: Its size.

    Raises:
        Invalid: It is none.
    """
    if not nbytes:
        raise Invalid("the file is empty; write a program to it")
    found = detect(head)
    if found == "stablehlo_text" and b"(" not in head:
        raise Invalid("not a program: this is text without any function")
    root = int.from_bytes(head[:_OFFSET_BYTES], "little")
    if found == "jax_export" and not _OFFSET_BYTES <= root < nbytes:
        raise Invalid("not a program: neither text nor one of the binary formats")
