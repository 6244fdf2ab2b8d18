"""Options of a pickled function, as the file ``options`` of its program has them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from jaxfs.compiler import meshes
from jaxfs.errors import Invalid


def _integers(text: str) -> tuple[int, ...]:
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


def _spelled(read: Callable[[str], Any]) -> Callable[[str], str]:
    """A value that stays as it is written, once it could be read."""

    def check(text: str) -> str:
        read(text)
        return text

    return check


_READERS: dict[str, Callable[[str], Any]] = {
    "static_argnums": _integers,
    "donate_argnums": _integers,
    "platforms": _words,
    "enable_x64": _flag,
    "mesh": _spelled(meshes.parse_mesh),
    "in_shardings": _spelled(meshes.parse_shardings),
    "out_shardings": _spelled(meshes.parse_shardings),
}


@attrs.frozen
class FunctionOptions:
    """As for ``jax.jit``; static arguments have the values of the pickled examples.

    ``platforms`` are those the function may run on, empty for all.  ``enable_x64`` is whether JAX
    computes with 64 bits; where not said, it does if an input has 64.  ``mesh`` and shardings are
    written as in a path.
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
        """What of it is a step as in a path: over which devices arrays are spread, and how."""
        names = ("in_shardings", "out_shardings", "mesh")
        given = [f"{name}={getattr(self, name)}" for name in names if getattr(self, name)]
        return (":".join(["jit", *given]),) if given else ()

    @classmethod
    def parse(cls, words: Mapping[str, str]) -> FunctionOptions:
        """Raises Invalid for an unknown option or a value that does not fit."""
        return cls(**{name: _value(name, text) for name, text in words.items()})


def _value(name: str, text: str) -> Any:
    read = _READERS.get(name)
    if read is None:
        close = difflib.get_close_matches(name, _READERS) or list(_READERS)
        raise Invalid(f"there is no option {name!r}; did you mean {' or '.join(close)}?")
    try:
        return read(text)
    except ValueError as error:
        raise Invalid(f"option {name} takes {error}, and was given {text!r}") from None
