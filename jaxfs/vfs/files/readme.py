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

Every wait can be interrupted. Errors are reported twice: by errno, and in words in the file `error`
of the same object and in error_log.
"""


def readme(specs: Iterable[NodeSpec]) -> bytes:
    """Returns the whole text: the introduction, the nodes and the errnos.

    Args:
        specs: The nodes; each gives a paragraph.
    """
    pieces = [INTRODUCTION, "\nFILES\n", *map(_paragraph, in_reading_order(specs)), "\nERRORS\n"]
    pieces += [f"    {name:<14}{meaning}\n" for name, meaning in errors.TABLE]
    return "".join(pieces).encode()


def in_reading_order(specs: Iterable[NodeSpec]) -> list[NodeSpec]:
    """Returns the specs without the root's: each directory followed by what is in it."""
    shown: list[NodeSpec] = [spec for spec in specs if spec.pattern]
    return sorted(shown, key=lambda spec: (spec.pattern.count("/") > 0, spec.pattern.split("/")[0]))


def _paragraph(spec: NodeSpec) -> str:
    title = f"{spec.pattern}/"
    if not isinstance(spec, DirectorySpec):
        title = f"{spec.pattern}  ({spec.format})"
    indent = " " * 8
    help_text = textwrap.fill(spec.help, 92, initial_indent=indent, subsequent_indent=indent)
    return f"    {title}\n{help_text}\n"
