"""Runs an artifact with StableHLO's reference interpreter: slow, and right by definition.

https://openxla.org/stablehlo/spec defines the results.  The interpreter aborts on some programs,
which ends only the process of the job.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.compiler.job_protocol import Interpret
from jaxfs.errors import NotSupported
from jaxfs.stablehlo.importer.constants import decode
from jaxfs.stablehlo.importer.op import Type
from jaxfs.stablehlo.module.canonicalize import make_whole, run_passes
from jaxfs.stablehlo.module.exporter_constants import dense_attribute
from jaxfs.stablehlo.module.parse import parse_bytecode

LENGTH_BYTES = 8


def interpret(context: ir.Context, packed: bytes, work: Interpret) -> bytes:
    """Returns the bytes of all outputs, one after another.

    Args:
        context: An MLIR context.
        packed: The artifact's length in 8 bytes, the artifact, the bytes of all inputs.
        work: The signature of the artifact.

    Raises:
        NotSupported: The interpreter cannot run the program.
    """
    end = LENGTH_BYTES + int.from_bytes(packed[:LENGTH_BYTES], "little")
    module = parse_bytecode(context, packed[LENGTH_BYTES:end], "an artifact")
    with context, ir.Location.unknown(context):
        make_whole(module)
        inputs, offset = [], end
        for aval in work.signature.input_avals:
            inputs.append(dense_attribute(packed[offset : offset + aval.nbytes], aval))
            offset += aval.nbytes
        outputs = _evaluate(module, inputs)
        avals = work.signature.output_avals
        return b"".join(
            decode(output, Type(aval.shape, aval.row.numpy)).tobytes()
            for output, aval in zip(outputs, avals, strict=True)
        )


def _evaluate(module: Any, inputs: list[Any]) -> list[Any]:
    run_passes(module, "func.func(chlo-legalize-to-stablehlo)")
    try:
        found: list[Any] = stablehlo.eval_module(module, inputs)
    except Exception as error:  # nanobind has no class for a message of MLIR
        lines = str(error).splitlines()
        raise NotSupported(
            f"the reference interpreter cannot run this: {lines[0] if lines else error!r}",
            str(error),
        ) from None
    return found
