"""``programs/<program>/graph.svg``: drawn when it is first opened, and kept with the program."""

from __future__ import annotations

from jaxfs.posix.credentials import Caller
from jaxfs.programs.program import Program
from jaxfs.tree.disk import DiskFile, size_of
from jaxfs.tree.files.programs import HERE, make_first, version_of
from jaxfs.tree.handles import Handle
from jaxfs.tree.rows import File, Row
from jaxfs.tree.system import System


async def _open(system: System, program: Program, caller: Caller, flags: int) -> Handle:
    return DiskFile(await system.programs.draw(program, version_of(program)))


def _size(system: System, program: Program) -> int:
    return size_of(version_of(program).graph_path)


ROWS: tuple[Row, ...] = (
    File(
        f"{HERE}/graph.svg",
        0o444,
        "SVG",
        "the program as a picture; made when it is first opened, and of size 0 before",
        open=_open,
        size=_size,
        prepare=make_first,
    ),
)
