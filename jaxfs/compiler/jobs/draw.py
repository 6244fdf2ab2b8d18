"""An artifact as a picture, drawn in a process of its own: it walks what a user wrote."""

from __future__ import annotations

from typing import Any

from jaxfs.compiler.job_protocol import Draw
from jaxfs.errors import NotSupported
from jaxfs.stablehlo.graph import draw
from jaxfs.stablehlo.module.parse import parse_bytecode


def draw_artifact(context: Any, artifact: bytes, work: Draw) -> bytes:
    """SVG.  Raises Invalid for a damaged artifact, NotSupported for what cannot be laid out."""
    module = parse_bytecode(context, artifact, "an artifact")
    try:
        with context:
            return draw(module, work.signature)
    except RecursionError:
        words = "this program cannot be drawn: its functions call one another too deeply"
        raise NotSupported(words) from None
