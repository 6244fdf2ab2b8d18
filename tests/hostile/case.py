"""What a row of the corpus says, and the few words most programs of it are made of."""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable

import msgspec

VECTOR = "tensor<4xf32>"


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


class Case(msgspec.Struct, frozen=True):
    """A program and how it must end.

    ``reason`` are words the refusal must contain.  What is stopped by nobody, or by the engine,
    must compile.  ``source`` may be a function where the program is large.
    """

    what: str
    source: str | bytes | Callable[[], str | bytes]
    stop: Stop
    reason: str = ""
    errno: int = errno.EINVAL

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
