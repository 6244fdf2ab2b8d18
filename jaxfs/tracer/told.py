"""Errors of a user's Python function, told like Python tells them: without our frames and JAX's."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Iterator
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


@contextmanager
def as_python_tells() -> Iterator[None]:
    """Any exception of the block becomes Invalid with its type, message and the user's lines.

    A user's function may raise anything; only what ends the process is let through.
    """
    try:
        yield
    except (JaxfsError, MemoryError):
        raise
    except RecursionError as error:
        raise _told(error, "RecursionError: the function calls itself too often") from None
    except BaseException as error:  # sys.exit() in a user's function is an error like any other
        raise _told(error, _one_line(error)) from None


def _told(error: BaseException, reason: str) -> Invalid:
    frames = _frames(error)
    place = f" (line {frames[-1].lineno})" if frames else ""
    head = "Traceback (most recent call last):\n" if frames else ""
    shown = [*frames[:MAX_FRAMES], *frames[MAX_FRAMES:][-MAX_FRAMES:]]
    lines = traceback.StackSummary.from_list(shown).format()  # it says where lines repeat
    return Invalid(reason + place, f"{head}{''.join(lines)}{_name(error)}: {error}")


def _one_line(error: BaseException) -> str:
    paragraph = str(error).strip().split("\n\n")[0]
    words = " ".join(word for word in paragraph.split() if not word.startswith(_LINKS))
    return f"{_name(error)}: {words}"[:MAX_REASON]


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
