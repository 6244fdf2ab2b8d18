"""Options of a pickled function, from the ``options`` file of its program."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from jaxfs.compiler import meshes
from jaxfs.errors import Invalid


def _integers(text: str) -> tuple[int, ...]:
    """Returns the numbers of a text, with spaces or commas between them.

    Raises:
        ValueError: It has something else; the message is the phrase for what is expected.
    """
    try:
        return tuple(int(word) for word in text.replace(",", " ").split())
    except ValueError:
        raise ValueError("numbers of arguments, as 0 2") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def _validated(read: Callable[[str], Any]) -> Callable[[str], str]:
    """Returns a reader that returns the text itself if ``read`` accepts it."""

    def check(text: str) -> str:
        read(text)
        return text

    return check


_READERS: dict[str, Callable[[str], Any]] = {
    "static_argnums": _integers,
    "donate_argnums": _integers,
    "platforms": _words,
    "enable_x64": _flag,
    "mesh": _validated(meshes.parse_mesh),
    "in_shardings": _validated(meshes.parse_shardings),
    "out_shardings": _validated(meshes.parse_shardings),
}


@attrs.frozen
class FunctionOptions:
    """The options of ``jax.jit`` for a pickled function.

    Attributes:
        static_argnums: Arguments that have the values of the pickled examples.
        donate_argnums: Arguments whose memory the function may reuse.
        platforms: Where the function may run; empty for everywhere.
        enable_x64: Whether JAX computes with 64 bits; None: if an input has 64.
        mesh: A mesh of devices, as in a transformation path.
        in_shardings: How the inputs are sharded, as in a transformation path.
        out_shardings: How the outputs are sharded, as in a transformation path.
    """

    static_argnums: tuple[int, ...] = ()
    donate_argnums: tuple[int, ...] = ()
    platforms: tuple[str, ...] = ()
    enable_x64: bool | None = None
    mesh: str = ""
    in_shardings: str = ""
    out_shardings: str = ""

    @property
    def steps(self) -> tuple[str, ...]:
        """The mesh and the shardings as a step of a transformation path; empty without a mesh."""
        names = ("in_shardings", "out_shardings", "mesh")
        given = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name)]
        return (":".join(["jit", *given]),) if given else ()

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> FunctionOptions:
        """Returns the options from their texts.

        >>> FunctionOptions.parse({"static_argnums": "1", "mesh": "x4"}).steps
        ('jit:mesh=x4',)

        Raises:
            Invalid: An option is unknown, or its value does not fit.
        """
        return cls(**{name: _value(name, text) for name, text in texts.items()})


def _value(name: str, text: str) -> Any:
    read = _READERS.get(name)
    if read is None:
        close = difflib.get_close_matches(name, _READERS) or list(_READERS)
        raise Invalid(f"there is no option {name!r}; did you mean {' or '.join(close)}?")
    try:
        return read(text)
    except ValueError as error:
        raise Invalid(f"option {name} takes {error}, and was given {text!r}") from None
