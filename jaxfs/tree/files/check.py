"""``programs/<program>/check``: a program beside the reference interpreter."""

from __future__ import annotations

import os

from jaxfs.calls.reference_check import check
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Caller
from jaxfs.programs.program import Program
from jaxfs.tree.files.programs import HERE
from jaxfs.tree.handles import Handle, Snapshot, Upload
from jaxfs.tree.rows import File, Row
from jaxfs.tree.system import System


async def _open(system: System, program: Program, caller: Caller, flags: int) -> Handle:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return Snapshot(program.checked.encode())

    async def commit(spool: Spool) -> None:
        program.checked = await check(system.calls, system.tracer, program, caller, spool)

    return Upload(system.calls.spool(caller.uid), commit, flags)


def _size(system: System, program: Program) -> int:
    return len(program.checked.encode())


ROWS: tuple[Row, ...] = (
    File(
        f"{HERE}/check",
        0o666,
        "nested keyed",
        "write inputs, or random, then read how far the outputs are from those of StableHLO's "
        "reference interpreter",
        open=_open,
        size=_size,
    ),
)
