"""Programs for the fakes: one line of text instead of StableHLO.

A program names a Python function and writes its types as a signature::

    add(x: f32[4], y: f32[4]) -> total: f32[4]
    double(x)                                   # types come with the call
    double(x: f32[?])                           # so does one size
    add(x: f32[4], y: f32[4]) -> f32[4]         # devices=2 temp_bytes=1000

What follows ``#`` are figures that the fake compiler reports, and words that only make one source
differ from another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_NUMPY, Aval, parse_aval
from jaxfs.types.buffers import TypedBuffer
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.partial_avals import KnownAval, PartialAval
from jaxfs.types.signature import Param, Signature

Array = npt.NDArray[np.generic]
Function = Callable[..., "Array | tuple[Array, ...]"]

FUNCTIONS: Mapping[str, Function] = {
    "add": lambda x, y: x + y,
    "double": lambda x: x + x,
    "identity": lambda *arrays: arrays,
    "negate": lambda x: -x,
    "saxpy": lambda x, y: 2 * x + y,
    "sum": np.sum,
}
PICKLE = b"\x80\x05"  # in front of a program: it then counts as a pickled function
_PROGRAM = re.compile(
    r"\s*(?P<name>\w+)\((?P<inputs>[^()]*)\)\s*(?:->\s*(?P<outputs>[^#\n]*))?(?:#(?P<notes>.*))?",
)
_COMMA = re.compile(r",(?![^\[]*\])")  # not those between the sizes of a type


@attrs.frozen
class FakeProgram:
    """A function with types.

    Attributes:
        name: What the function is called in ``FakeEngine.functions``.
        inputs: Name and type of each input; None and types with ``?`` are not known.
        outputs: Empty where the types of inputs are not all known.
        notes: Numbers by name: ``devices``, ``temp_bytes``, ``alias_bytes``, ``flops``.
        is_pickle: Whether the source began with ``PICKLE``.
    """

    name: str
    inputs: tuple[tuple[str, KnownAval], ...]
    outputs: tuple[Param, ...] = ()
    notes: Mapping[str, int] = {}
    is_pickle: bool = False

    @classmethod
    def parse(cls, source: bytes) -> FakeProgram:
        """Returns the program in a source.  Raises Invalid for other text.

        >>> program = FakeProgram.parse(b"add(x: f32[4], y: f32[4]) -> total: f32[4]")
        >>> print(program.signature.text(), end="")
        in 0 x f32[4]
        in 1 y f32[4]
        out 0 total f32[4]
        """
        text = source.removeprefix(PICKLE).decode(errors="replace")
        found = _PROGRAM.match(text)
        if found is None:
            raise Invalid(f"not a program: {text[:40]!r}", "expected NAME(INPUTS) -> OUTPUTS")
        pairs = (word.split("=") for word in (found["notes"] or "").split() if "=" in word)
        return cls(
            found["name"],
            tuple(map(_parse_input, _split(found["inputs"]))),
            tuple(map(_parse_output, _split(found["outputs"] or ""))),
            {key: int(value) for key, value in pairs},
            source.startswith(PICKLE),
        )

    def text(self) -> str:
        """Returns the line that ``parse`` reads.

        >>> FakeProgram.parse(b"double(x: f32[?]) # devices=2").text()
        'double(x: f32[?]) # devices=2'
        """
        inputs = ", ".join(f"{name}: {known}" if known else name for name, known in self.inputs)
        outputs = ", ".join(
            f"{one.name}: {one.aval}" if one.name else f"{one.aval}" for one in self.outputs
        )
        notes = " ".join(f"{key}={value}" for key, value in self.notes.items())
        arrow = f" -> {outputs}" if outputs else ""
        return f"{self.name}({inputs}){arrow}" + (f" # {notes}" if notes else "")

    @property
    def is_typed(self) -> bool:
        """Whether the types of all inputs are known."""
        return all(known is not None and known.aval is not None for _, known in self.inputs)

    @property
    def signature(self) -> Signature:
        """The signature of a typed program."""
        avals = [(name, known.aval) for name, known in self.inputs if known is not None]
        inputs = tuple(Param(name, aval) for name, aval in avals if aval is not None)
        assert len(inputs) == len(self.inputs), f"{self.text()} is not typed"
        return Signature(inputs, self.outputs)

    def specialized(self, types: Sequence[Aval], functions: Mapping[str, Function]) -> FakeProgram:
        """Returns the program for these types of inputs; its function finds those of the outputs.

        >>> program = FakeProgram.parse(b"double(x)")
        >>> program.specialized([Aval("f32", (3,))], FUNCTIONS).text()
        'double(x: f32[3]) -> f32[3]'
        """
        if len(types) != len(self.inputs):
            raise Invalid(f"{self.name} takes {len(self.inputs)} inputs, got {len(types)}")
        arrays = [np.zeros(aval.shape, aval.row.numpy) for aval in types]
        outputs = tuple(
            Param("", Aval(BY_NUMPY[array.dtype].short, array.shape))
            for array in call(self.name, functions, arrays)
        )
        known = [PartialAval(aval.dtype, aval.shape) for aval in types]
        names = [name for name, _ in self.inputs]
        return attrs.evolve(self, inputs=tuple(zip(names, known, strict=True)), outputs=outputs)

    def run(self, inputs: Sequence[bytes], functions: Mapping[str, Function]) -> bytes:
        """Returns the outputs of a typed program, laid out as an engine does.

        Raises what the function raises, and Invalid where its outputs have other sizes.
        """
        avals = self.signature.input_avals
        given = [TypedBuffer(a, data).array() for a, data in zip(avals, inputs, strict=True)]
        made = call(self.name, functions, given)
        offsets, nbytes = output_offsets(self.signature)
        whole = bytearray(nbytes)
        for param, offset, array in zip(self.outputs, offsets, made, strict=True):
            data = np.ascontiguousarray(array, param.aval.row.numpy).tobytes()
            if len(data) != param.aval.nbytes:
                raise Invalid(f"{self.name} made {array.dtype}{array.shape}, not {param.aval}")
            whole[offset : offset + len(data)] = data
        return bytes(whole)


def call(name: str, functions: Mapping[str, Function], arrays: Sequence[Array]) -> list[Array]:
    """Returns the outputs of a function; of ``grad/loss`` where only ``loss`` is known, its."""
    function = functions.get(name) or functions.get(name.rpartition("__")[2])
    if function is None:
        raise Invalid(f"there is no function {name!r}; there are {' '.join(functions)}")
    made = function(*arrays)
    return [np.asarray(one) for one in (made if isinstance(made, tuple) else (made,))]


def _split(text: str) -> list[str]:
    return [word.strip() for word in _COMMA.split(text) if word.strip()]


def _parse_input(text: str) -> tuple[str, KnownAval]:
    name, _, type_text = (word.strip() for word in text.rpartition(":"))
    if not name and "[" not in type_text:
        return type_text, None
    dtype, _, sizes = type_text.rstrip("]").partition("[")
    words = [word.strip() for word in sizes.split(",") if word.strip()]
    if all(word.isdecimal() for word in words):
        parse_aval(type_text)  # raises Invalid for a dtype that does not exist
    return name, PartialAval(dtype, tuple(int(w) if w.isdecimal() else w for w in words))


def _parse_output(text: str) -> Param:
    name, _, type_text = text.rpartition(":")
    return Param(name.strip(), parse_aval(type_text))
