"""The element types in .npy headers: numpy counts bytes (``f4``) where our names count bits."""

from __future__ import annotations

import re

import numpy as np

from jaxfs.types.avals import DTYPES

_DESCR = re.compile(r"(?P<order>[<>|=]?)(?P<code>[?a-zA-Z]\w*)(?P<unit>\[\w+\])?\Z", re.ASCII)
_NATIVE = {row.numpy.str[1:]: row.short for row in DTYPES if row.is_native}
# ml_dtypes gives float8_e5m2 the code of a one-byte IEEE float; np.save writes it, np.load refuses
SHORT_OF = {**_NATIVE, "?": "bool", "f1": "f8_e5m2"}
CODES_OF = {
    row.short: {code for code, short in SHORT_OF.items() if short == row.short}
    | (set() if row.is_native else {f"V{row.itemsize}"})
    for row in DTYPES
}
_NOT_IN_JAX = "a type that JAX does not have: save it as "
_NUMBERS = f"{_NOT_IN_JAX}numbers, "
# by the kind in numpy's code: what the elements are, and what to do with them
_FOREIGN = {
    "f": ("numpy's long double", f"{_NOT_IN_JAX}float64 or float32"),
    "c": ("numpy's complex long double", f"{_NOT_IN_JAX}complex128 or complex64"),
    "O": ("Python objects", f"{_NUMBERS}x.astype(np.float32)"),
    "U": ("text", f"{_NUMBERS}x.astype(np.float32)"),
    "S": ("bytes of text", f"{_NUMBERS}x.astype(np.float32)"),
    "M": ("points in time", f"{_NUMBERS}x.astype(np.int64)"),
    "m": ("lengths of time", f"{_NUMBERS}x.astype(np.int64)"),
    "V": ("bytes without a type", "as numpy saves bf16 and others: write it as .safetensors"),
}
_UNKNOWN = ("a type that numpy does not have", f"{_NOT_IN_JAX}one of numpy's own types")
_FIELD = re.compile(r"""['"]descr['"]\s*:\s*\[\s*\(\s*u?['"](?P<name>[^'"]*)['"]""")


def parse_descr(text: str) -> tuple[str, bool] | None:
    """Returns numpy's code of a type and whether it is big-endian; None if it is no simple type.

    >>> parse_descr("<f4"), parse_descr(">i8"), parse_descr("float32"), parse_descr("<f4, <f4")
    (('f4', False), ('i8', True), ('f4', False), None)
    """
    match = _DESCR.match(text)
    if match is None:
        return None
    code = match["code"]
    if code not in SHORT_OF and code[0] not in "VO" and match["unit"] is None:
        code = _code_of(code)
    return code, match["order"] == ">"


def _code_of(name: str) -> str:
    """Returns the code of a type with another of its names: ``f4`` of ``float32``, ``f16`` of g."""
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        return name
    return dtype.str[1:] if dtype.isbuiltin == 1 else name


def foreign(code: str, shape: tuple[int, ...]) -> str:
    """Describes an array of a type that JAX does not have, and what to do.

    >>> foreign("f16", (2,)).partition(":")[0]
    "numpy's long double (f16) of shape [2], a type that JAX does not have"
    """
    what, remedy = _FOREIGN.get(code[0], _UNKNOWN)
    return f"{what} ({code}) of shape [{','.join(map(str, shape))}], {remedy}"


def no_plain_array(text: str) -> str:
    """Returns why a header describes no plain array, and what to do.

    Args:
        text: The header.
    """
    field = _FIELD.search(text)
    if field is None:
        return f"a .npy header that describes no plain array: {text[:200]!r}"
    return (
        f"a .npy header that describes no plain array but records, with fields such as "
        f"{field['name'][:40]!r}: save each field as an array, x[{field['name'][:40]!r}]"
    )
