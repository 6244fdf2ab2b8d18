"""The inputs and outputs of a program: one typed, named parameter a line."""

from __future__ import annotations

import msgspec

from jaxfs.types.avals import Aval


class Param(msgspec.Struct, frozen=True):
    """One input or output.

    Attributes:
        name: The pytree key path or the argument's name (``x``, ``params.w``); empty if the source
            has none.
        aval: Its type.
        donated: Whether the program may reuse the memory of this input.
    """

    name: str
    aval: Aval
    donated: bool = False


class Signature(msgspec.Struct, frozen=True):
    """The parameters of ``main``, in order.

    Attributes:
        inputs: One for each argument of ``main``.
        outputs: One for each result.
    """

    inputs: tuple[Param, ...]
    outputs: tuple[Param, ...]

    def text(self) -> str:
        r"""Returns the content of the ``signature`` file.

        >>> x = Param("x", Aval("f32", (16,)), donated=True)
        >>> Signature((x,), (Param("", Aval("f32")),)).text()
        'in 0 x f32[16] donated\nout 0 f32[]\n'
        """
        lines = [_line("in", i, param) for i, param in enumerate(self.inputs)]
        return "".join(lines + [_line("out", i, param) for i, param in enumerate(self.outputs)])

    @property
    def input_avals(self) -> tuple[Aval, ...]:
        """The types of the inputs."""
        return tuple(param.aval for param in self.inputs)

    @property
    def output_avals(self) -> tuple[Aval, ...]:
        """The types of the outputs."""
        return tuple(param.aval for param in self.outputs)


def _line(direction: str, index: int, param: Param) -> str:
    words = (direction, str(index), param.name, str(param.aval), "donated" * param.donated)
    return " ".join(filter(None, words)) + "\n"
