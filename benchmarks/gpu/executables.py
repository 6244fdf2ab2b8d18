"""Programs as files: written by a process with JAX, read by those without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from benchmarks.gpu.arrays import random_arrays
from benchmarks.gpu.outcomes import Skip
from jaxfs.engine.interface import Executable
from jaxfs.types.signature import Signature


def write_executable(
    directory: Path, name: str, data: bytes, signature: Signature, *, serialized: bool = False
) -> Executable:
    """Writes an artifact, or a compiled executable, as ``name`` and ``name.json``."""
    path = directory / name
    path.write_bytes(data)
    found = Executable(name, str(path), (0,), signature, serialized=serialized)
    path.with_name(f"{name}.json").write_bytes(msgspec.json.encode(found))
    return found


def read_executable(directory: Path, name: str) -> Executable:
    """Returns what ``write_executable`` has written.

    Raises:
        Skip: Nothing of this name was written.
    """
    path = directory / f"{name}.json"
    if not path.exists():
        raise Skip(f"the program {name} was not made")
    return msgspec.json.decode(path.read_bytes(), type=Executable)


def inputs_of(executable: Executable) -> tuple[NDArray[Any], ...]:
    """Returns the inputs that plain JAX gets too."""
    avals = executable.signature.input_avals
    return random_arrays(tuple((aval.shape, aval.row.numpy) for aval in avals))
