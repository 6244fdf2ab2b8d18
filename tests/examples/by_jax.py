"""What the examples must answer, computed without jaxfs's engine; prints it as JSON.

A process of its own: the tests, like the examples, do not import jax.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from jax import export, jit
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat.mlir import make_context


def interpret(source: str, rows: np.ndarray) -> list[np.ndarray]:
    """The first output for each row, from StableHLO's reference interpreter, not from XLA."""
    with make_context():
        module = ir.Module.parse(source)
        outputs: list[Any] = [
            stablehlo.eval_module(module, [ir.DenseElementsAttr.get(row)])[0] for row in rows
        ]
        return [np.array(output) for output in outputs]


DIMMED = (1, 4, 16, 64)  # as in pipeline.mk


def main(examples: Path) -> None:
    images = np.load(examples / "digits/images.npy")
    artifact = bytearray((examples / "digits/digits.jaxexport").read_bytes())
    exported: Any = export.deserialize(artifact)  # its call has no types
    scores = interpret((examples / "digits/digits_conv.mlir").read_text(), images)
    x, y = np.array([[1, 2, 3, 4], [10, 20, 30, 40]], np.float32)
    answers = {
        "digits": np.asarray(exported.call(images)).tolist(),
        "dimmed": {dim: exported.call(images / np.float32(dim)).tolist() for dim in DIMMED},
        "digits_conv": [int(np.argmax(row)) for row in scores],
        "digits_conv_scores": scores[0].tolist(),
        "saxpy": np.asarray(jit(lambda x, y: 2 * x + y)(x, y)).tolist(),
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
