"""Draws an artifact as a graph; in a job, because it walks a program that a user wrote."""

from __future__ import annotations

from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import Draw
from jaxfs.errors import NotSupported
from jaxfs.stablehlo.graph import draw
from jaxfs.stablehlo.module.parse import parse_bytecode


def draw_artifact(context: ir.Context, artifact: bytes, work: Draw) -> bytes:
    """Returns the graph of an artifact as SVG.

    Raises:
        Invalid: The artifact is damaged.
        NotSupported: The program cannot be laid out.
    """
    module = parse_bytecode(context, artifact, "an artifact")
    try:
        with context:
            return draw(module, work.signature)
    except RecursionError:
        reason = "this program cannot be drawn: its functions call one another too deeply"
        raise NotSupported(reason) from None
