"""Which names programs, staging files and calls may have."""

from __future__ import annotations

import re

from jaxfs.errors import Invalid, NameTooLong

MAX_NAME_BYTES = 128
EXTENSIONS = {  # of source files; what a file holds is told by its content, not by these
    "mlir": "StableHLO as text",
    "mlirbc": "MLIR bytecode, or a StableHLO portable artifact",
    "jaxexport": "a jax.export artifact",
    "pkl": "a pickled Python function",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", re.ASCII)
_STAGING = re.compile(r"\.[A-Za-z0-9_.~-]+\Z", re.ASCII)


def is_staging(name: str) -> bool:
    """Whether a file of this name is only kept, and compiled when it is renamed."""
    return name.startswith(".")


def check(name: str) -> str:
    """The name itself.  Raises Invalid, NameTooLong."""
    if len(name.encode()) > MAX_NAME_BYTES:
        raise NameTooLong(f"the name is {len(name.encode())} bytes long; {MAX_NAME_BYTES} are most")
    if not (_STAGING if is_staging(name) else _NAME).match(name):
        raise Invalid(f"{name!r} is no name here; names are [A-Za-z0-9_][A-Za-z0-9_.-]*")
    return name


def split_source(filename: str) -> tuple[str, str]:
    """``saxpy.mlir`` -> (``saxpy``, ``mlir``).  Raises Invalid for any other kind of name."""
    name, dot, extension = check(filename).rpartition(".")
    if not dot or extension not in EXTENSIONS:
        known = " ".join(f".{word}" for word in EXTENSIONS)
        raise Invalid(f"{filename!r} does not end like a program; use one of {known}")
    return name, extension
