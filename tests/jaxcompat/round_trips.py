"""Serializes executables and loads them again: ``python -m tests.jaxcompat.round_trips``.

A process of its own, because the number of devices is chosen once.  Prints what was loaded, a line
each, and why hostile pickles were refused.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxlib.mlir import ir

from jaxfs.jaxcompat import executables
from jaxfs.jaxcompat.mlir import make_context
from jaxfs.types.avals import DTYPES, Aval
from jaxfs.types.signature import Param, Signature

COUNT = 4
SPREAD = {
    "split and whole": (P("x"), P(), lambda x: x * 2),
    "split twice": (P("x", "y"), P("y", "x"), lambda x: x.T + 1),
    "chosen by the compiler": (P("x"), None, jnp.tanh),
}


def round_trip(lowered: Any, inputs: Signature, devices: list[jax.Device]) -> None:
    with make_context() as context:
        module = ir.Module.parse(str(lowered.compiler_ir()), context)
    made = executables.compile_module(module, inputs, devices)
    loaded = executables.deserialize(executables.serialize(made), devices)
    assert executables.opcodes(loaded) == executables.opcodes(made)


def signature(aval: Aval) -> Signature:
    return Signature((Param("", aval),), (Param("", aval),))


class Runs:
    """A pickle that calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = function, arguments

    def __reduce__(self) -> Any:
        return self._reduced


def hostile() -> Iterator[bytes]:
    yield pickle.dumps(Runs(os.system, "echo pwned"))
    yield pickle.dumps(Runs(eval, "print('pwned')"))
    yield pickle.dumps(Runs(getattr, "", "join"))
    yield pickle.dumps(Runs(np.fromfile, "/etc/passwd"))
    yield b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93."
    yield b"\x80\x04\x8c\x03jax\x8c\x0aP.__init__\x93."
    yield b"cnumpy\nload\n(S'/etc/passwd'\ntR."


def main() -> None:
    devices = list(executables.use_cpu(COUNT))
    for row in DTYPES:
        if row.short in ("i2", "u2", "f4_e2m1fn"):  # XLA:CPU has no executables with them
            continue
        lowered = jax.jit(lambda x: x).lower(jax.ShapeDtypeStruct((4,), row.numpy))
        round_trip(lowered, signature(Aval(row.short, (4,))), devices[:1])
        print("dtype", row.short)
    mesh = Mesh(np.array(devices).reshape(2, 2), ("x", "y"))
    for shardy in (True, False):
        jax.config.update("jax_use_shardy_partitioner", shardy)
        for name, (before, after, function) in SPREAD.items():
            out = None if after is None else NamedSharding(mesh, after)
            jitted = jax.jit(function, in_shardings=NamedSharding(mesh, before), out_shardings=out)
            lowered = jitted.lower(jax.ShapeDtypeStruct((4, 4), "float32"))
            round_trip(lowered, signature(Aval("f32", (4, 4))), devices)
            print("spread", name, shardy)
    for data in hostile():
        try:
            executables.deserialize(data, devices)
        except pickle.UnpicklingError as error:
            print("refused", error)


if __name__ == "__main__":
    main()
