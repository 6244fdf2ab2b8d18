"""The README inside the mount, made from the node table so that it cannot go stale."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from jaxfs import errors
from jaxfs.vfs.node_specs import DirectorySpec, NodeSpec

INTRODUCTION = """\
jaxfs: JAX programs and devices as files.

    cp saxpy.mlir programs/                     compiles; a bad program fails the cp, the reason
                                                is in programs/saxpy/error
    cat x.npy y.npy > programs/saxpy/calls/job1 submits a call when the file is closed
    cat results/job1 > out.npy                  waits for the device, then delivers
    cat results/job1.txt                        the same numbers for people
    exec 3<>programs/saxpy/call                 a conversation: write inputs, read outputs, repeat

Every wait can be interrupted. Errors are told twice: by errno, and in words in the file `error` of
the same object and in error_log.
"""


def readme(rows: Iterable[NodeSpec]) -> bytes:
    """The whole text."""
    parts = [INTRODUCTION, "\nFILES\n", *(_entry(row) for row in ordered(rows)), "\nERRORS\n"]
    parts += [f"    {name:<14}{meaning}\n" for name, meaning in errors.TABLE]
    return "".join(parts).encode()


def ordered(rows: Iterable[NodeSpec]) -> list[NodeSpec]:
    """Each directory followed by what is in it, in the order of the table."""
    ordered: list[NodeSpec] = [row for row in rows if row.pattern]
    return sorted(ordered, key=lambda row: (row.pattern.count("/") > 0, row.pattern.split("/")[0]))


def _entry(row: NodeSpec) -> str:
    if isinstance(row, DirectorySpec):
        return f"    {row.pattern}/\n{_help(row.help)}"
    return f"    {row.pattern}  ({row.format})\n{_help(row.help)}"


def _help(text: str) -> str:
    return textwrap.fill(text, 92, initial_indent=" " * 8, subsequent_indent=" " * 8) + "\n"
