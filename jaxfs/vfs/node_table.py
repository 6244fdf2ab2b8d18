"""The node table: every file and directory of the interface is a row of it.

The tree, the README in the mount and the tests of modes and help are made from this table.
"""

from __future__ import annotations

from collections import defaultdict

from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.files import (
    arrays,
    calls,
    devices,
    inputs,
    metrics,
    mount,
    program,
    programs,
    results,
    transformations,
)
from jaxfs.vfs.files.readme import readme
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import FileSpec, NodeSpec


def _readme(system: Mount, subject: Mount, caller: Credentials) -> bytes:
    return readme(ROWS)


ROWS: tuple[NodeSpec, ...] = (
    FileSpec("README", 0o444, "text", "how to use this mount", read=_readme),
    *mount.ROWS,
    *metrics.ROWS,
    *programs.ROWS,
    *program.ROWS,
    *calls.ROWS,
    *arrays.ROWS,
    *inputs.ROWS,
    *transformations.ROWS,
    *results.ROWS,
    *devices.ROWS,
)
BY_PATTERN: dict[str, NodeSpec] = {row.pattern: row for row in ROWS}
NUMBER: dict[str, int] = {row.pattern: number for number, row in enumerate(ROWS)}


def _static_children() -> dict[str, dict[str, NodeSpec]]:
    children: dict[str, dict[str, NodeSpec]] = defaultdict(dict)
    for row in ROWS:
        parent, _, name = row.pattern.rpartition("/")
        if row.pattern and "<" not in name:
            children[parent][name] = row
    return children


CHILDREN = _static_children()
