"""Compiles the test programs, in a process of its own: ``python builder.py DIRECTORY [PLATFORM]``.

Each program becomes ``<name>`` (the serialized executable) and ``<name>.json`` (its signature);
those made from a JAX function also ``<name>.npz`` (inputs and expected outputs).  With a platform
``<name>`` is an artifact, lowered for it; expected outputs are those of this machine's CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat import executables, mlir
from jaxfs.types.avals import BY_NUMPY, BY_SHORT, Aval
from jaxfs.types.signature import Param, Signature
from tests.engine.programs import DEVICES, SPREAD, TEXTS

RANDOM = np.random.RandomState(0)
A = RANDOM.randn(4, 4)
SPD = A @ A.T + 4 * np.eye(4)

FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {
    "cholesky": (jnp.linalg.cholesky, (SPD,)),
    "qr": (lambda x: tuple(jnp.linalg.qr(x)), (A,)),
    "eigh": (lambda x: tuple(jnp.linalg.eigh(x)), (SPD,)),
    "svd": (lambda x: tuple(jnp.linalg.svd(x)), (A,)),
    "lu": (lambda x: tuple(jax.lax.linalg.lu(x)), (A,)),
    "solve": (jnp.linalg.solve, (A, SPD)),
    "triangular_solve": (
        lambda x, y: jax.lax.linalg.triangular_solve(x, y, left_side=True, lower=True),
        (SPD, A),
    ),
    "fft": (jnp.fft.fft, (A,)),
    "sort": (lambda x: jnp.sort(x, axis=0), (A,)),
    "rng": (lambda x: jax.random.normal(jax.random.key(0), (4,)) + x[0], (A,)),
}


def signature_of(main: ir.Operation) -> Signature:
    """The types of an MLIR function."""

    def param(kind: ir.Type) -> Param:
        shaped = ir.RankedTensorType(kind)
        short = next(r.short for r in BY_SHORT.values() if r.mlir == str(shaped.element_type))
        return Param("", Aval(short, tuple(shaped.shape)))

    kind = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
    return Signature(tuple(map(param, kind.inputs)), tuple(map(param, kind.results)))


def find_main(module: ir.Module) -> ir.Operation:
    return next(
        op.operation
        for op in module.body
        if ir.StringAttr(op.attributes["sym_name"]).value == "main"
    )


def build(directory: Path, name: str, text: str, *devices: jax.Device) -> None:
    with mlir.make_context() as context, ir.Location.unknown(context):
        module = ir.Module.parse(text)
        signature = signature_of(find_main(module))
        executable = executables.compile_module(module, signature, devices)
        (directory / name).write_bytes(executables.serialize(executable))
    (directory / f"{name}.json").write_bytes(msgspec.json.encode(signature))


def build_artifact(directory: Path, name: str, text: str) -> None:
    with mlir.make_context() as context, ir.Location.unknown(context):
        module = ir.Module.parse(text)
        artifact = stablehlo.serialize_portable_artifact(
            module, stablehlo.get_current_version(), True
        )
        (directory / f"{name}.artifact").write_bytes(artifact)


def build_uncompiled(directory: Path, name: str, text: str) -> None:
    """An artifact under the name of an executable, for engines that compile programs themselves."""
    build_artifact(directory, name, text)
    (directory / f"{name}.artifact").replace(directory / name)
    with mlir.make_context() as context, ir.Location.unknown(context):
        main = find_main(ir.Module.parse(text))
        (directory / f"{name}.json").write_bytes(msgspec.json.encode(signature_of(main)))


def build_function(directory: Path, name: str, platform: str, device: jax.Device) -> None:
    function, inputs = FUNCTIONS[name]
    jitted = jax.jit(function)
    if platform:
        lowered = jitted.trace(*inputs).lower(lowering_platforms=(platform,))
        build_uncompiled(directory, name, lowered.as_text())
    else:
        build(directory, name, jitted.lower(*inputs).as_text(), device)
    outputs = jax.tree.leaves(jitted(*inputs))
    arrays = {f"in{i}": x for i, x in enumerate(inputs)}
    arrays |= {f"out{i}": np.asarray(x) for i, x in enumerate(outputs)}
    np.savez(directory / f"{name}.npz", allow_pickle=False, **arrays)
    assert all(np.asarray(x).dtype in BY_NUMPY for x in outputs)


def main(directory: Path, platform: str = "") -> None:
    devices = executables.use_cpu(DEVICES)
    for name, (text, device) in TEXTS.items():
        if platform:
            build_uncompiled(directory, name, text)
        else:
            build(directory, name, text, devices[device])
    if not platform:
        build(directory, "spread", SPREAD, *devices)
    build_artifact(directory, "f32", TEXTS["f32"][0])
    build_artifact(directory, "spread", SPREAD)
    for name in FUNCTIONS:
        build_function(directory, name, platform, devices[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
