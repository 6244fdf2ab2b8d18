"""What a row of the corpus says, and the few words most programs of it are made of."""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

import jaxlib.version
import msgspec

VECTOR = "tensor<4xf32>"
IS_NEWER = jaxlib.version.__version_info__ >= (0, 12)


class Stop(enum.Enum):
    """Who says no; the first of these to see the program."""

    CONTENT = "a look at the bytes"
    PREFILTER = "the count of brackets"
    PARSER = "MLIR's parser"
    VERIFIER = "MLIR's verifier"
    CHECK = "our checks"
    COMPILER = "XLA's compiler"
    CRASH = "the death of the throw-away process"
    MEMORY = "the memory limit of the throw-away process"
    DEADLINE = "the deadline"
    ENGINE = "the engine, when it runs"
    NOBODY = "nobody: it does no harm"


AT_COMPILE = frozenset({Stop.COMPILER, Stop.CRASH, Stop.MEMORY, Stop.DEADLINE})
ACCEPTED = frozenset({Stop.ENGINE, Stop.NOBODY})


class Ending(msgspec.Struct, frozen=True):
    """Who stops a program, and how."""

    stop: Stop
    reason: str = ""
    errno: int = 0


HARMLESS = Ending(Stop.NOBODY)


class Case(msgspec.Struct, frozen=True):
    """A program and how it must end.

    ``reason`` are words the refusal must contain.  What is stopped by nobody, or by the engine,
    must compile.  ``source`` may be a function where the program is large.  ``newer`` is how it
    ends with jaxlib 0.12 and later, where that is another way.
    """

    what: str
    source: str | bytes | Callable[[], str | bytes]
    stop: Stop
    reason: str = ""
    errno: int = errno.EINVAL
    newer: Ending | None = None

    def here(self) -> Case:
        """The row for the jaxlib that is installed."""
        return self if self.newer is None or not IS_NEWER else self.with_jaxlib_0_12()

    def with_jaxlib_0_12(self) -> Case:
        """The row for jaxlib 0.12 and later."""
        end = self.newer or Ending(self.stop, self.reason, self.errno)
        return Case(self.what, self.source, end.stop, end.reason, end.errno)

    @property
    def data(self) -> bytes:
        """The bytes a user would write."""
        source = self.source() if callable(self.source) else self.source
        return source.encode() if isinstance(source, str) else source


def harmless(what: str, source: str | bytes | Callable[[], str | bytes]) -> Case:
    """A program that looks bad and must be accepted."""
    return Case(what, source, Stop.NOBODY, errno=0)


def main(*lines: str, takes: str = f"%x: {VECTOR}", gives: str = VECTOR) -> str:
    """The text of a program that returns ``%r``."""
    inner = "".join(f"  {line}\n" for line in lines)
    return f"func.func @main({takes}) -> {gives} {{\n{inner}  return %r : {gives}\n}}\n"


def one(operation: str, kind: str = VECTOR) -> str:
    """A program of one operation on ``%x``, both of one type."""
    return main(f"%r = {operation}", takes=f"%x: {kind}", gives=kind)
