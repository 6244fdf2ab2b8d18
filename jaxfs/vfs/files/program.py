"""``programs/<program>/``: what is known of one program, and what can be set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import trio

from jaxfs.calls.reference_check import check
from jaxfs.compiler.job_protocol import UntypedProgram
from jaxfs.errors import (
    BrokenProgram,
    Invalid,
    NotFound,
    NotPermitted,
    NotReady,
    NotSupported,
    RunFailed,
)
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.names import types_name
from jaxfs.programs.program import DerivedProgram, Program, SourceProgram, root_of
from jaxfs.types.avals import parse_aval
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.control import SnapshotFile
from jaxfs.vfs.open_files.disk import DiskFile, size_of
from jaxfs.vfs.open_files.upload import UploadFile
from jaxfs.vfs.text import flat_keyed, line, lines

HERE = "programs/<program>"


def version_of(program: Program) -> CompiledProgram:
    """The version that serves.  Raises NotReady, BrokenProgram."""
    if program.compiled is not None:
        return program.compiled
    if program.untyped is not None:
        raise Invalid(
            f"{program.path} has no types of its own; look into {program.path}/specializations"
        )
    if program.state == "compiling":
        raise NotReady(f"{program.path} is still compiling; read its status")
    raise BrokenProgram(f"{program.path} did not compile; read {program.path}/error")


async def make_first(program: Program) -> None:
    """A derived program is made at its first use, and looking into it is one."""
    if isinstance(program, DerivedProgram):
        with contextlib.suppress(BrokenProgram, NotSupported):  # what is read next says why
            await program.wait_compiled()


def _quarantine(system: Mount, program: Program, caller: Credentials) -> str:
    """Why the caller's engine refuses the version that serves; empty where it does not."""
    if program.compiled is None:
        return ""
    return system.engines.of(caller.uid).quarantined.get(program.compiled.executable.key, "")


def _status(system: Mount, program: Program, caller: Credentials) -> bytes:
    version, root = program.compiled, root_of(program)
    made_from = program.current
    return flat_keyed(
        [
            ("state", "quarantined" if _quarantine(system, program, caller) else program.state),
            ("source", root.source_name),
            ("source_bytes", root.source_bytes),
            ("source_format", made_from.source_format if made_from else ""),
            ("sha256", root.source_sha256),
            ("platforms", ",".join(version.platforms) if version else ""),
            ("device", version.device if version else program.device),
            ("specializations", len(program.specializations)),
            ("compile_usec", version.compile_usec if version else 0),
            ("compile_phase", system.programs.jobs.phase_of(program.building)),
            ("compile_elapsed_usec", program.building_usec),
            ("errno", program.error.errno_name if program.error else ""),
        ]
    )


def _error(system: Mount, program: Program, caller: Credentials) -> bytes:
    reason = _quarantine(system, program, caller)
    if reason:
        return RunFailed(reason).text().encode()
    return program.error.text().encode() if program.error else b"ok\n"


def _signature(system: Mount, program: Program, caller: Credentials) -> bytes:
    if program.untyped is not None:
        each = zip(program.untyped.parameters, program.untyped.inputs, strict=True)
        return lines(f"in {i} {name} {known or '?'}" for i, (name, known) in enumerate(each))
    return version_of(program).signature.text().encode()


async def _compile_ahead(system: Mount, program: Program, caller: Credentials, text: str) -> None:
    """``f32[16] f32[16]``: make the specialization for these types now."""
    types = tuple(parse_aval(word) for word in text.split())
    if not isinstance(await program.wait_compiled(), UntypedProgram):
        raise Invalid(f"{program.path} has types of its own; read {program.path}/signature")
    await system.programs.derivations.version_for(program, types)
    system.remember(program)


def _options(system: Mount, program: Program, caller: Credentials) -> bytes:
    if isinstance(program, SourceProgram):
        return flat_keyed(sorted(program.options.items()))
    return flat_keyed(
        (f"step_{number}", step) for number, step in enumerate(program.build_key.steps)
    )


async def _set_options(system: Mount, program: Program, caller: Credentials, text: str) -> None:
    if not isinstance(program, SourceProgram):
        raise NotPermitted("the options of a transformation stand in its path")
    rows = (line.split(None, 1) for line in text.splitlines() if line.strip())
    options = {row[0]: row[1].strip() if len(row) > 1 else "" for row in rows}
    await system.programs.builds.set_options(program, options)


def _list_specializations(system: Mount, program: Program) -> Iterable[DirEntry]:
    for types, derived in program.specializations.items():
        yield DirEntry(types_name(types), HERE, derived)


def _signature_json(system: Mount, program: Program, caller: Credentials) -> bytes:
    return msgspec.json.encode(version_of(program).signature) + b"\n"


def _cost(system: Mount, program: Program, caller: Credentials) -> bytes:
    rows = sorted(version_of(program).cost.items())
    return flat_keyed((key, int(value) if value.is_integer() else value) for key, value in rows)


def _memory(system: Mount, program: Program, caller: Credentials) -> bytes:
    """What the compiler tells; of inputs and outputs it is known where it tells nothing."""
    version = version_of(program)
    known = {
        "argument_bytes": sum(aval.nbytes for aval in version.signature.input_avals),
        "output_bytes": sum(aval.nbytes for aval in version.signature.output_avals),
    }
    return flat_keyed(sorted({**known, **version.memory}.items()))


def _device(system: Mount, program: Program, caller: Credentials) -> bytes:
    return line(program.compiled.device if program.compiled else program.device)


async def _move(system: Mount, program: Program, caller: Credentials, text: str) -> None:
    await system.programs.builds.move(program, text.strip())


def _stats(system: Mount, program: Program, caller: Credentials) -> bytes:
    return flat_keyed(program.stats.rows())


def _existing(path: Path) -> Path:
    if not path.exists():
        raise NotFound("the compiler of this platform does not show what it made")
    return path


async def _open_stablehlo(s: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    return DiskFile(version_of(program).stablehlo_path)


async def _open_hlo(s: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    return DiskFile(_existing(version_of(program).hlo_path))


def _stablehlo_size(system: Mount, program: Program) -> int:
    return size_of(version_of(program).stablehlo_path)


def _hlo_size(system: Mount, program: Program) -> int:
    return size_of(version_of(program).hlo_path)


def _next_state(program: Program) -> trio.Event:
    return program.changed


def _file(
    name: str, form: str, text: str, read: object, write: object = None, *, made: bool = False
) -> FileSpec:
    prepare = make_first if made else None
    mode = 0o644 if write else 0o444
    return FileSpec(f"{HERE}/{name}", mode, form, text, read=read, write=write, prepare=prepare)  # type: ignore[arg-type]  # a row's functions


async def _open_check(system: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return SnapshotFile(program.checked.encode())

    async def commit(spool: Spool) -> None:
        program.checked = await check(system.calls, system.compiler, program, caller, spool)

    return UploadFile(system.calls.spool(caller.uid), commit, flags)


def _check_size(system: Mount, program: Program) -> int:
    return len(program.checked.encode())


async def _open_graph(system: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    return DiskFile(await system.programs.builds.draw(program, version_of(program)))


def _graph_size(system: Mount, program: Program) -> int:
    return size_of(version_of(program).graph_path)


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec(HERE, 0o755, "one program"),
    FileSpec(
        f"{HERE}/status",
        0o444,
        "flat keyed",
        "state compiling|ready|untyped|unused|failed|quarantined, and what it was made of; "
        "poll(2) tells changes: POLLPRI",
        read=_status,
        changed=_next_state,
    ),
    _file("error", "text", '"ok", or why the last write failed or no call is taken', _error),
    _file(
        "signature",
        "newline-separated",
        "a line for each input and output; write types, f32[16] i32[], to compile ahead for them",
        _signature,
        _compile_ahead,
        made=True,
    ),
    _file("signature.json", "json", "the same for programs", _signature_json, made=True),
    FileSpec(
        f"{HERE}/stablehlo.mlir",
        0o444,
        "text",
        "what is compiled",
        open=_open_stablehlo,
        size=_stablehlo_size,
        prepare=make_first,
    ),
    FileSpec(
        f"{HERE}/hlo.txt",
        0o444,
        "text",
        "what the compiler made",
        open=_open_hlo,
        size=_hlo_size,
        prepare=make_first,
    ),
    _file(
        "cost",
        "flat keyed",
        "flops, bytes_accessed ... by the compiler's reckoning",
        _cost,
        made=True,
    ),
    _file(
        "memory",
        "flat keyed",
        "argument, output, temporary, peak and code bytes",
        _memory,
        made=True,
    ),
    _file("device", "single value", "where it runs; write another to move it", _device, _move),
    _file(
        "options",
        "flat keyed",
        "what the function's jit was given, and may be: static_argnums, donate_argnums, mesh ...",
        _options,
        _set_options,
    ),
    DirectorySpec(
        f"{HERE}/specializations",
        0o755,
        "a program like this one for each set of input types it was called with",
        entries=_list_specializations,
    ),
    _file("stats", "flat keyed", "calls, errors, quantiles of times", _stats),
    FileSpec(
        f"{HERE}/check",
        0o666,
        "nested keyed",
        "write inputs, or random, then read how far the outputs are from those of StableHLO's "
        "reference interpreter",
        open=_open_check,
        size=_check_size,
    ),
    FileSpec(
        f"{HERE}/graph.svg",
        0o444,
        "SVG",
        "the program as a picture; made when it is first opened, and of size 0 before",
        open=_open_graph,
        size=_graph_size,
        prepare=make_first,
    ),
)
