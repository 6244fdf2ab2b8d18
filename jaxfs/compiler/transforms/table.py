"""The table of transformations, with JAX's own names and options; imports no jax.

A step of a transformation path is ``name:option=value:option=value``.  A new transformation is a
row here and a function in ``apply``.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Callable
from typing import Any

import attrs

from jaxfs.compiler import meshes
from jaxfs.errors import Invalid

Axes = tuple[int | None, ...]
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MAX_STEP = 255  # characters, as of any file name


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise ValueError("an integer")
    return int(text)


def _positive(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,8}", text):
        raise ValueError("a number from 1")
    return int(text)


def _integers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(_integer(word) for word in text.split(","))
    except ValueError:
        raise ValueError("numbers of arguments with commas between, as 0,1") from None
    if len(set(found)) < len(found):
        raise ValueError("each argument once")
    return found


def _axes(text: str) -> Axes:
    """Returns the axes of a text such as ``0,_``, None for each ``_``.

    Raises:
        ValueError: It has something else; the message is the phrase for what is expected.
    """
    try:
        return tuple(None if word == "_" else _integer(word) for word in text.split(","))
    except ValueError:
        raise ValueError("axes with commas between, _ for none, as 0,_") from None


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def _name(text: str) -> str:
    if not _WORD.match(text):
        raise ValueError("a word of letters, digits and _")
    return text


def _written(value: Any) -> str:
    """Returns the text of an option's value."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, tuple):
        return ",".join("_" if item is None else str(item) for item in value)
    return str(value)


@attrs.frozen
class TransformOption:
    """One option.

    Attributes:
        name: As JAX calls it.
        placeholder: The form of its value, for help.
        help: Its meaning, for users.
        read: Parses a value, or raises ValueError with a phrase for what is expected.
        default: Its value if it is not given.
    """

    name: str
    placeholder: str
    help: str
    read: Callable[[str], Any]
    default: Any = None

    @property
    def explained(self) -> str:
        """The help, and the default."""
        default = "" if self.default in (None, ()) else f"; default {_written(self.default)}"
        return self.help + default


@attrs.frozen
class Transformation:
    """A row of the table.

    Attributes:
        name: As JAX calls it.
        help: What it makes of a program ``f``, for users.
        options: Its options.
    """

    name: str
    help: str
    options: tuple[TransformOption, ...] = ()

    def option(self, name: str) -> TransformOption:
        """Returns an option by its name.

        Raises:
            Invalid: There is none; the message names similar ones.
        """
        known = {option.name: option for option in self.options}
        if name in known:
            return known[name]
        if not known:
            raise Invalid(f"{self.name} has no options, and {name!r} was given")
        close = difflib.get_close_matches(name, known)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {' '.join(known)}"
        raise Invalid(f"{self.name} has no option {name!r}; {hint}")


@attrs.frozen
class Step:
    """A transformation with the values of its options.

    Attributes:
        transformation: The row of the table.
        values: A value for every option.
        canonical: The text, with the options in the order of the row and without defaults.
    """

    transformation: Transformation
    values: dict[str, Any] = attrs.field(eq=False)
    canonical: str

    def __getitem__(self, option: str) -> Any:
        return self.values[option]


_ARGNUMS = TransformOption(
    "argnums", "I,J", "which inputs; several give one gradient each", _integers, (0,)
)
_HAS_AUX = TransformOption(
    "has_aux", "0|1", "the program gives (value, extra): pass extra on", _flag, False
)
_HOLOMORPHIC = TransformOption("holomorphic", "0|1", "promise that f is holomorphic", _flag, False)
_ALLOW_INT = TransformOption(
    "allow_int", "0|1", "let integers have (float0) gradients", _flag, False
)
_GRAD = (_ARGNUMS, _HAS_AUX, _HOLOMORPHIC, _ALLOW_INT)
_JAC = (_ARGNUMS, _HAS_AUX, _HOLOMORPHIC)
_IN_AXES = TransformOption(
    "in_axes", "I,J", "the batch axis of each input, _ for none", _axes, (0,)
)
_OUT_AXES = TransformOption("out_axes", "I,J", "the batch axis of each output", _axes, (0,))
_AXIS_NAME = TransformOption("axis_name", "NAME", "a name for collectives inside", _name)

ROWS: tuple[Transformation, ...] = (
    Transformation("grad", "the gradient of a scalar f, for its first input or argnums", _GRAD),
    Transformation("value_and_grad", "f's value, then what grad gives", _GRAD),
    Transformation(
        "jit",
        "f itself; for its options.  With a mesh, on as many devices at once: arrays are spread "
        "over them and come back whole, with the same numbers",
        (
            TransformOption(
                "donate_argnums", "I,J", "inputs whose memory f may use", _integers, ()
            ),
            TransformOption(
                "in_shardings",
                "S,S",
                "for each input, the mesh's axes over which its dimensions are spread: x for the "
                "first dimension over x, _.x for the second, x.y, x+y for one over both; _ alone "
                "leaves it to the compiler; one is for all inputs",
                meshes.parse_shardings,
                (),
            ),
            TransformOption(
                "out_shardings", "S,S", "the same for each output", meshes.parse_shardings, ()
            ),
            TransformOption(
                "mesh", "x4|x2y2", "the devices as axes with their sizes", meshes.parse_mesh
            ),
        ),
    ),
    Transformation(
        "vmap",
        "f for each element of a batch; its size comes with the call, or from axis_size",
        (
            _IN_AXES,
            _OUT_AXES,
            TransformOption("axis_size", "N", "the size of the batch", _positive),
            _AXIS_NAME,
        ),
    ),
    Transformation(
        "pmap",
        "f for each element of a batch, each on a device of its own: no more elements than "
        "devices, and their number comes with the call or from devices",
        (
            _IN_AXES,
            _OUT_AXES,
            TransformOption(
                "devices", "N", "how many devices, which is the size of the batch", _positive
            ),
            _AXIS_NAME,
        ),
    ),
    Transformation(
        "jvp",
        "f and its directional derivative: write the inputs, then a tangent for each that is not "
        "an integer; read the outputs, then their tangents",
    ),
    Transformation(
        "linearize",
        "as jvp, by way of a linear function: write the inputs, then the tangents; read the "
        "outputs, then their tangents",
    ),
    Transformation(
        "vjp",
        "f and its transposed derivative: write the inputs, then a cotangent for each output; read "
        "the outputs, then a gradient for each input that is not an integer",
    ),
    Transformation("jacfwd", "the Jacobian, column by column: for few inputs", _JAC),
    Transformation("jacrev", "the Jacobian, row by row: for few outputs", _JAC),
    Transformation("hessian", "the second derivatives, jacfwd of jacrev", _JAC),
    Transformation(
        "checkpoint",
        "f, whose gradient computes again instead of keeping what it needs",
        (TransformOption("prevent_cse", "0|1", "keep the compiler from undoing it", _flag, True),),
    ),
)
TRANSFORMATIONS: dict[str, Transformation] = {row.name: row for row in ROWS}


def parse(text: str) -> Step:
    """Returns the step that ``text`` spells.

    >>> parse("vmap:axis_size=8:in_axes=0").canonical
    'vmap:axis_size=8'
    >>> parse("grad")["argnums"]
    (0,)

    Raises:
        Invalid: A name or a value is wrong; the reason names similar ones.
    """
    name, *words = text.split(":")
    row = TRANSFORMATIONS.get(name)
    if row is None:
        close = difflib.get_close_matches(name, TRANSFORMATIONS)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"there are {' '.join(TRANSFORMATIONS)}"
        )
        raise Invalid(f"there is no transformation {name!r}; {hint}")
    given = [_read(row, word) for word in words]
    names = [option.name for option, _ in given]
    if len(set(names)) < len(names):
        raise Invalid(f"{text}: an option is given twice")
    values = {option.name: option.default for option in row.options}
    values |= {option.name: value for option, value in given}
    return Step(row, values, _canonical(row, values))


def _read(row: Transformation, word: str) -> tuple[TransformOption, Any]:
    name, _, text = word.partition("=")
    option = row.option(name)
    try:
        return option, option.read(text)
    except ValueError as error:
        raise Invalid(f"{row.name}:{name} takes {error}, and was given {text!r}") from None


def _canonical(row: Transformation, values: dict[str, Any]) -> str:
    given = [
        f"{option.name}={_written(values[option.name])}"
        for option in row.options
        if values[option.name] != option.default
    ]
    return ":".join([row.name, *given])


def help_text(name: str) -> str:
    """Returns the content of a transformation's ``help`` file: its effect and its options."""
    row = TRANSFORMATIONS[name]
    lines = [textwrap.fill(row.help, 92, initial_indent=f"{name}: ", subsequent_indent="    ")]
    for o in row.options:
        written = f":{o.name}={o.placeholder}  {o.explained}"
        lines.append(textwrap.fill(written, 92, initial_indent=" " * 4, subsequent_indent=" " * 8))
    return "\n".join(lines) + "\n"
