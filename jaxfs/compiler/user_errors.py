"""Errors of a user's Python function, reported as Python does: without our frames and JAX's."""

from __future__ import annotations

import os
import re
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax
import jaxlib

import jaxfs
from jaxfs.errors import Invalid, JaxfsError

_NOT_USERS = tuple(str(Path(m.__file__ or "").parent) + os.sep for m in (jaxfs, jax, jaxlib))
_STDLIB = sysconfig.get_path("stdlib") + os.sep
_INSTALLED = f"{os.sep}site-packages{os.sep}"  # a folder within the standard library
_LINKS = "https://"  # JAX ends its advice with addresses that the sentence before explains
# Advice by what the message has, where JAX has no error class of its own.
_ADVICE_BY_WORDS = {
    "cuDNN": "a program is lowered where there is no GPU: use implementation='xla'",
    "Shapes must be 1D sequences of concrete values": "a size comes from an argument: pickle it as "
    "an example and name it in static_argnums, in the program's options file",
    "Slice entries must be static integers": "use jax.lax.dynamic_slice, or name the argument in "
    "static_argnums, in the program's options file",
}
MAX_REASON = 600  # characters
MAX_FRAMES = 30  # from either end of a traceback


# JAX's description of the function that it traces, which is one of ours around the user's.
_OURS = (
    (re.compile(r" ?The error occurred while tracing the function \S+ at \S+ for \w+\."), ""),
    (re.compile(r"function \S+ at \S+ traced for \w+ returned"), "the function returned"),
    (re.compile(r"\s*See (?:https://\S+)?\s*\Z"), ""),
)
_INPUT = re.compile(r"\binputs\[(\d+)\]")
Kinds = tuple[type[BaseException], ...]
# What JAX raises for programs that do not fit a transformation.  If no function of a user ran,
# anything else is a bug of ours.
BY_JAX: Kinds = (TypeError, ValueError, NotImplementedError)
# Advice, shorter than JAX's, by the names of JAX's error classes.
_ADVICE = {
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
    r"""Replaces any exception of the block by Invalid, with its type, message and the user's lines.

    A user's function may raise anything, also SystemExit, and that is an error like any other.

    >>> with as_user_error():
    ...     raise ValueError("shapes differ\n\nmore of it")
    Traceback (most recent call last):
        ...
    jaxfs.errors.Invalid: ValueError: shapes differ (line 2)

    Args:
        names: The names of the inputs, which JAX knows by their positions.
        kinds: Other exceptions pass unchanged.
    """
    try:
        yield
    except (JaxfsError, MemoryError):
        raise
    except RecursionError as error:
        reason = "RecursionError: the function calls itself too often"
        raise _user_error(error, reason, str(error)) from None
    except kinds as error:
        message = _for_user(str(error), names)
        raise _user_error(error, _one_line(error, message), message) from None


@contextmanager
def errors_of_user_code() -> Iterator[None]:
    """As ``as_user_error``, for exceptions that passed through the user's code, as of a class.

    Others are bugs of ours, and stay what they are.
    """
    try:
        yield
    except JaxfsError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        if not any(_is_users(frame.filename) for frame in frames):
            raise
        with as_user_error():
            raise


def _for_user(message: str, names: Sequence[str]) -> str:
    """Returns JAX's message with the user's function and inputs instead of ours."""
    for pattern, replacement in _OURS:
        message = pattern.sub(replacement, message)
    by_index = dict(enumerate(names))
    return _INPUT.sub(lambda match: by_index.get(int(match[1]), match[0]), message)


def _user_error(error: BaseException, reason: str, message: str) -> Invalid:
    extracted = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in extracted if _is_users(frame.filename)]
    place = f" (line {frames[-1].lineno})" if frames else ""
    head = "Traceback (most recent call last):\n" if frames else ""
    some = [*frames[:MAX_FRAMES], *frames[MAX_FRAMES:][-MAX_FRAMES:]]
    lines = traceback.StackSummary.from_list(some).format()  # abbreviates repeated lines
    return Invalid(reason + place, f"{head}{''.join(lines)}{type(error).__name__}: {message}")


def _one_line(error: BaseException, message: str) -> str:
    """Returns the first paragraph without links, and advice if there is some."""
    name = type(error).__name__
    paragraph = message.strip().split("\n\n")[0]
    line = " ".join(word for word in paragraph.split() if not word.startswith(_LINKS))
    reason = f"{name}: {line}"[:MAX_REASON]
    by_words = (advice for words, advice in _ADVICE_BY_WORDS.items() if words in line)
    advice = _ADVICE.get(name) or next(by_words, "")
    return f"{reason.rstrip('.')}; {advice}" if advice else reason


def _is_users(filename: str) -> bool:
    """Returns whether a file is the user's; installed libraries are, the standard one is not."""
    if filename.startswith(("<frozen", *_NOT_USERS)):
        return False
    return not filename.startswith(_STDLIB) or _INSTALLED in filename
