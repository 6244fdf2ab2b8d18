"""Errors of a user's Python function, told like Python tells them: without our frames and JAX's."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import jax
import jaxlib

import jaxfs
from jaxfs.errors import Invalid, JaxfsError

_NOT_THEIRS = tuple(str(Path(m.__file__ or "").parent) + os.sep for m in (jaxfs, jax, jaxlib))
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = f"{os.sep}site-packages{os.sep}"  # stands below the standard library
_LINKS = "https://"  # JAX ends its advice with addresses; the sentence before says as much
MAX_REASON = 600  # characters
MAX_FRAMES = 30  # from either end of a traceback


# What JAX says of the function that it was given, which is one of ours around the user's.
_OURS = (
    (re.compile(r" ?The error occurred while tracing the function \S+ at \S+ for \w+\."), ""),
    (re.compile(r"function \S+ at \S+ traced for \w+ returned"), "the function returned"),
    (re.compile(r"\s*See (?:https://\S+)?\s*\Z"), ""),
)
_INPUT = re.compile(r"\binputs\[(\d+)\]")
Kinds = tuple[type[BaseException], ...]
# What JAX raises for programs that do not fit a transformation.  Where no function of a user's ran,
# anything else is a bug of ours.
BY_JAX: Kinds = (TypeError, ValueError, NotImplementedError)
# What to do instead, shorter than JAX has it, by the names of its error classes.
_INSTEAD = {
    "TracerBoolConversionError": "use jnp.where or jax.lax.cond, or name the argument in "
    "static_argnums",
    "TracerIntegerConversionError": "index an array instead of a list, or name the argument in "
    "static_argnums",
    "TracerArrayConversionError": "use jax.numpy instead of numpy",
    "ConcretizationTypeError": "name the argument in static_argnums, or make it a constant",
    "NonConcreteBooleanIndexError": "use jnp.where instead of a boolean index",
}


@contextmanager
def as_user_error(names: Sequence[str] = (), kinds: Kinds = (BaseException,)) -> Iterator[None]:
    """Any exception of the block becomes Invalid with its type, message and the user's lines.

    A user's function may raise anything, also SystemExit, and that is an error like any other.
    ``names`` are those of the inputs, which JAX knows by their numbers.  Exceptions that are not of
    ``kinds`` stay what they are.
    """
    try:
        yield
    except (JaxfsError, MemoryError):
        raise
    except RecursionError as error:
        words = "the function calls itself too often"
        raise _told(error, f"RecursionError: {words}", str(error)) from None
    except kinds as error:
        words = _in_their_words(str(error), names)
        raise _told(error, _one_line(error, words), words) from None


def _in_their_words(words: str, names: Sequence[str]) -> str:
    for pattern, instead in _OURS:
        words = pattern.sub(instead, words)
    known = dict(enumerate(names))
    return _INPUT.sub(lambda match: known.get(int(match[1]), match[0]), words)


def _told(error: BaseException, reason: str, words: str) -> Invalid:
    frames = _frames(error)
    place = f" (line {frames[-1].lineno})" if frames else ""
    head = "Traceback (most recent call last):\n" if frames else ""
    shown = [*frames[:MAX_FRAMES], *frames[MAX_FRAMES:][-MAX_FRAMES:]]
    lines = traceback.StackSummary.from_list(shown).format()  # it says where lines repeat
    return Invalid(reason + place, f"{head}{''.join(lines)}{_name(error)}: {words}")


def _one_line(error: BaseException, words: str) -> str:
    paragraph = words.strip().split("\n\n")[0]
    line = " ".join(word for word in paragraph.split() if not word.startswith(_LINKS))
    told = f"{_name(error)}: {line}"[:MAX_REASON]
    instead = _INSTEAD.get(_name(error))
    return f"{told.rstrip('.')}; {instead}" if instead else told


def _name(error: BaseException) -> str:
    return type(error).__name__


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The user's own; code of their installed libraries is theirs too."""
    trace: TracebackType | None = error.__traceback__
    return [frame for frame in traceback.extract_tb(trace) if _is_theirs(frame.filename)]


def _is_theirs(filename: str) -> bool:
    if filename.startswith(("<frozen", *_NOT_THEIRS)):
        return False
    return not filename.startswith(_STDLIB) or _INSTALLED in filename
