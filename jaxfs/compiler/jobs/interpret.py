"""An artifact run by StableHLO's reference interpreter: slow, and right by definition.

https://openxla.org/stablehlo/spec; the interpreter aborts on some programs, so it runs in a process
of its own, as everything here does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.compiler.job_protocol import Interpret
from jaxfs.errors import NotSupported
from jaxfs.stablehlo.importer.constants import decode
from jaxfs.stablehlo.importer.op import Type
from jaxfs.stablehlo.module.canonicalize import make_whole, run_passes
from jaxfs.stablehlo.module.parse import parse_bytecode
from jaxfs.types.avals import Aval

LENGTH_BYTES = 8
_BITS = 8


def interpret(context: Any, packed: bytes, work: Interpret) -> bytes:
    """The outputs' bytes, one after another.  Raises NotSupported for what it cannot run."""
    end = LENGTH_BYTES + int.from_bytes(packed[:LENGTH_BYTES], "little")
    module = parse_bytecode(context, packed[LENGTH_BYTES:end], "an artifact")
    with context, ir.Location.unknown(context):
        make_whole(module)
        inputs, offset = [], end
        for aval in work.signature.input_avals:
            inputs.append(_attribute(packed[offset : offset + aval.nbytes], aval))
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
    except Exception as error:  # a nanobind wrapper of whatever C++ had to say
        words = str(error).splitlines()
        raise NotSupported(
            f"the reference interpreter cannot run this: {words[0] if words else error!r}",
            str(error),
        ) from None
    return found


def _attribute(data: bytes, aval: Aval) -> Any:
    """An array as MLIR's bindings take it: truth values as bits, types numpy has not as bytes."""
    array = np.frombuffer(data, aval.row.numpy).reshape(aval.shape)
    if array.dtype == np.bool_ and array.size <= _BITS:  # one byte counts as one value for all
        nested = str(array.tolist()).lower()
        shape = "".join(f"{size}x" for size in aval.shape)
        return ir.Attribute.parse(f"dense<{nested}> : tensor<{shape}i1>")
    if array.dtype == np.bool_:
        array = np.packbits(array.reshape(-1), bitorder="little")
    elif not aval.row.is_native:
        array = array.view(np.dtype(f"uint{array.dtype.itemsize * 8}"))
    get: Any = ir.DenseElementsAttr.get  # arrays are buffers, which its types do not know
    element = ir.Type.parse(aval.row.mlir)
    return get(np.ascontiguousarray(array), type=element, shape=list(aval.shape))
