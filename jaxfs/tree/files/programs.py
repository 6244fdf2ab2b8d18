"""``programs/``: sources, and a directory for each program."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import trio

from jaxfs.errors import BrokenProgram, NotFound, NotReady, RunFailed
from jaxfs.ownership import Caller, Meta
from jaxfs.programs.program import Program, Staged
from jaxfs.programs.version import Version
from jaxfs.tree.disk import DiskFile, size_of
from jaxfs.tree.handles import Handle, Upload
from jaxfs.tree.rows import Directory, Entry, File, Row
from jaxfs.tree.system import System
from jaxfs.tree.text import flat_keyed, line
from jaxfs.wire.spool import Spool

HERE = "programs/<program>"
SOURCE = "programs/<program>.<ext>"
STAGING = "programs/.<name>"


def version_of(program: Program) -> Version:
    """The version that serves.  Raises NotReady, BrokenProgram."""
    if program.version is not None:
        return program.version
    if program.state == "compiling":
        raise NotReady(f"programs/{program.name} is still compiling; read its status")
    raise BrokenProgram(
        f"programs/{program.name} did not compile; read programs/{program.name}/error"
    )


def _list(system: System, subject: System) -> Iterable[Entry]:
    for program in system.programs:
        yield Entry(program.name, HERE, program)
        yield Entry(program.source_name, SOURCE, program)
    for staged in system.programs.staged():
        yield Entry(staged.name, STAGING, staged)


def _find(system: System, subject: System, name: str) -> Entry | None:
    program = system.programs.get(name)
    if program is not None:
        return Entry(name, HERE, program)
    found = system.programs.find_file(name)
    if found is None:
        return None
    return Entry(name, STAGING if isinstance(found, Staged) else SOURCE, found)


def _create(system: System, subject: System, name: str, meta: Meta) -> Entry:
    found = system.programs.create(name, meta)
    return Entry(name, STAGING if isinstance(found, Staged) else SOURCE, found)


def _unlink(system: System, entry: Entry) -> None:
    system.programs.remove(entry.name)


async def _rename(system: System, old: str, new: str, replace: bool) -> None:
    await system.programs.rename(old, new, replace=replace)


async def _open_source(system: System, program: Program, caller: Caller, flags: int) -> Handle:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return DiskFile(system.programs.source_path(program))

    async def commit(spool: Spool) -> None:
        await system.programs.commit(program, spool.view())

    def before() -> bytes:
        return system.programs.read_source(program)

    return Upload(system.calls.spool(caller.uid), commit, flags, before)


def _source_size(system: System, program: Program) -> int:
    return program.source_bytes


async def _open_staged(system: System, staged: Staged, caller: Caller, flags: int) -> Handle:
    async def commit(spool: Spool) -> None:
        staged.data = bytes(spool.view())
        staged.meta.touch()

    return Upload(system.calls.spool(caller.uid), commit, flags, lambda: staged.data, plain=True)


def _staged_size(system: System, staged: Staged) -> int:
    return len(staged.data)


def _quarantine(system: System, program: Program, caller: Caller) -> str:
    """Why the caller's engine refuses the version that serves; empty where it does not."""
    if program.version is None:
        return ""
    return system.engines.of(caller.uid).quarantined.get(program.version.executable.key, "")


def _status(system: System, program: Program, caller: Caller) -> bytes:
    version = program.version
    return flat_keyed(
        [
            ("state", "quarantined" if _quarantine(system, program, caller) else program.state),
            ("source", program.source_name),
            ("source_bytes", program.source_bytes),
            ("source_format", version.source_format if version else ""),
            ("sha256", program.source_sha256),
            ("platforms", ",".join(version.platforms) if version else ""),
            ("device", version.device if version else program.device),
            ("compile_usec", version.compile_usec if version else 0),
            ("errno", program.error.errno_name if program.error else ""),
        ]
    )


def _error(system: System, program: Program, caller: Caller) -> bytes:
    reason = _quarantine(system, program, caller)
    if reason:
        return RunFailed(reason).text().encode()
    return program.error.text().encode() if program.error else b"ok\n"


def _signature(system: System, program: Program, caller: Caller) -> bytes:
    return version_of(program).signature.text().encode()


def _signature_json(system: System, program: Program, caller: Caller) -> bytes:
    return msgspec.json.encode(version_of(program).signature) + b"\n"


def _cost(system: System, program: Program, caller: Caller) -> bytes:
    rows = sorted(version_of(program).cost.items())
    return flat_keyed((key, int(value) if value.is_integer() else value) for key, value in rows)


def _memory(system: System, program: Program, caller: Caller) -> bytes:
    return flat_keyed(sorted(version_of(program).memory.items()))


def _device(system: System, program: Program, caller: Caller) -> bytes:
    return line(program.version.device if program.version else program.device)


async def _move(system: System, program: Program, caller: Caller, text: str) -> None:
    await system.programs.move(program, text.strip())


def _stats(system: System, program: Program, caller: Caller) -> bytes:
    return flat_keyed(program.stats.rows())


def _existing(path: Path) -> Path:
    if not path.exists():
        raise NotFound("the compiler of this platform does not show what it made")
    return path


async def _open_stablehlo(s: System, program: Program, caller: Caller, flags: int) -> Handle:
    return DiskFile(version_of(program).stablehlo_path)


async def _open_hlo(s: System, program: Program, caller: Caller, flags: int) -> Handle:
    return DiskFile(_existing(version_of(program).hlo_path))


def _stablehlo_size(system: System, program: Program) -> int:
    return size_of(version_of(program).stablehlo_path)


def _hlo_size(system: System, program: Program) -> int:
    return size_of(version_of(program).hlo_path)


def _next_state(program: Program) -> trio.Event:
    return program.changed


def _file(name: str, form: str, text: str, read: object, write: object = None) -> File:
    mode = 0o644 if write else 0o444
    return File(f"{HERE}/{name}", mode, form, text, read=read, write=write)  # type: ignore[arg-type]  # a row's functions


ROWS: tuple[Row, ...] = (
    Directory(
        "programs",
        0o1777,
        "write a program here and it is compiled",
        entries=_list,
        find=_find,
        create=_create,
        unlink=_unlink,
        rename=_rename,
    ),
    File(
        SOURCE,
        0o666,
        "binary or text",
        "the source, byte for byte (.mlir .mlirbc .jaxexport .pkl; content decides, not the name)",
        open=_open_source,
        size=_source_size,
    ),
    File(
        STAGING,
        0o666,
        "binary or text",
        "a staging file: compiled when it is renamed to a program's name",
        open=_open_staged,
        size=_staged_size,
    ),
    Directory(HERE, 0o755, "one program"),
    File(
        f"{HERE}/status",
        0o444,
        "flat keyed",
        "state compiling|ready|failed|quarantined, and what it was made of; "
        "poll(2) tells changes: POLLPRI",
        read=_status,
        changed=_next_state,
    ),
    _file("error", "text", '"ok", or why the last write failed or no call is taken', _error),
    _file("signature", "newline-separated", "a line for each input and output", _signature),
    _file("signature.json", "json", "the same for programs", _signature_json),
    File(
        f"{HERE}/stablehlo.mlir",
        0o444,
        "text",
        "what is compiled",
        open=_open_stablehlo,
        size=_stablehlo_size,
    ),
    File(
        f"{HERE}/hlo.txt", 0o444, "text", "what the compiler made", open=_open_hlo, size=_hlo_size
    ),
    _file("cost", "flat keyed", "flops, bytes_accessed ... by the compiler's reckoning", _cost),
    _file("memory", "flat keyed", "argument, output, temporary, peak and code bytes", _memory),
    _file("device", "single value", "where it runs; write another to move it", _device, _move),
    _file("stats", "flat keyed", "calls, errors, quantiles of times", _stats),
)
