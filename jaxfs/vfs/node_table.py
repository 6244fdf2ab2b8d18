"""The node table: every file and directory of the interface is a row of it.

The filesystem, the README in the mount, the manual page and the tests of modes and help are made
from this table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

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


def _readme(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    return readme(SPECS)


SPECS: tuple[NodeSpec, ...] = (
    FileSpec("README", 0o444, "text", "how to use this mount", read=_readme),
    *mount.SPECS,
    *metrics.SPECS,
    *programs.SPECS,
    *program.SPECS,
    *calls.SPECS,
    *arrays.SPECS,
    *inputs.SPECS,
    *transformations.SPECS,
    *results.SPECS,
    *devices.SPECS,
)
ROOT = mount.ROOT
NUMBERS: Mapping[str, int] = {spec.pattern: number for number, spec in enumerate(SPECS)}


def _static_children() -> dict[str, dict[str, NodeSpec]]:
    """Returns the specs below each pattern by name, of those names that are always there."""
    children: dict[str, dict[str, NodeSpec]] = defaultdict(dict)
    for spec in SPECS:
        parent, _, name = spec.pattern.rpartition("/")
        if spec.pattern and "<" not in name:
            children[parent][name] = spec
    return dict(children)


STATIC_CHILDREN: Mapping[str, Mapping[str, NodeSpec]] = _static_children()
