"""The names of files in ``arrays/``."""

from __future__ import annotations

from jaxfs.codecs import formats
from jaxfs.errors import Invalid
from jaxfs.programs import names


def is_staging(filename: str) -> bool:
    """Whether a file of this name is only stored.

    A word of letters may be an array's name, and needs no other treatment: an array can be renamed.

    >>> is_staging("w.tmp"), is_staging("tmpab12cd34"), is_staging("tmpgradient")
    (True, True, False)
    """
    return names.is_staging(filename) and not filename.isalpha()


def split_name(filename: str) -> tuple[str, str]:
    """Returns the name of an array and a format, as ``w`` and ``npz`` of ``w.npz``.

    Raises:
        Invalid: It is no such name: names of arrays have no dot.

    >>> split_name("w.npz")
    ('w', 'npz')
    >>> split_name("w")
    ('w', '')
    """
    name, dot, format_name = names.check(filename).partition(".")
    accepted = [row.name for row in formats.FORMATS if row.decode is not None]
    if not name or (dot and format_name not in accepted):
        raise Invalid(
            f"{filename!r} is no name of an array: they have no dot, take "
            f"{filename.replace('.', '_')!r}; they may end in one of "
            + " ".join(f".{word}" for word in accepted)
        )
    return name, format_name
