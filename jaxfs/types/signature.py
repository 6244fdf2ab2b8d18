"""What a program takes and gives: one typed, named parameter a line."""

from __future__ import annotations

import msgspec

from jaxfs.types.avals import Aval


class Param(msgspec.Struct, frozen=True):
    """One input or output.

    ``name`` is the pytree key path or the argument's name (``x``, ``params.w``), or empty where the
    source does not tell.  ``donated`` marks an input whose memory the program may reuse.
    """

    name: str
    aval: Aval
    donated: bool = False


class Signature(msgspec.Struct, frozen=True):
    """The inputs and outputs of ``main``, in order."""

    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]

    def text(self) -> str:
        """The ``signature`` file: ``in 0 x f32[16]`` ... ``out 0 result f32[16]``."""
        rows = [("in", i, p) for i, p in enumerate(self.inputs)]
        rows += [("out", i, p) for i, p in enumerate(self.outputs)]
        return "".join(_line(kind, i, p) for kind, i, p in rows)

    @property
    def input_avals(self) -> tuple[Aval, ...]:
        return tuple(p.aval for p in self.inputs)

    @property
    def output_avals(self) -> tuple[Aval, ...]:
        return tuple(p.aval for p in self.outputs)


def _line(kind: str, index: int, param: Param) -> str:
    words = [kind, str(index), *([param.name] if param.name else []), str(param.aval)]
    return " ".join(words + (["donated"] if param.donated else [])) + "\n"
