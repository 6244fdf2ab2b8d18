"""``programs/<program>/``: what is known of one program, and what can be set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Never

import msgspec

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
    from_exception,
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

PROGRAM = DirectorySpec[Program, Never]("programs/<program>", 0o755, "one program")


def compiled_of(program: Program) -> CompiledProgram:
    """Returns what calls of a program run.

    Raises:
        Invalid: Its types come with the call.
        NotReady: It is still compiling.
        BrokenProgram: It did not compile.
    """
    if program.compiled is not None:
        return program.compiled
    if program.untyped is not None:
        raise Invalid(
            f"{program.path} has no types of its own; look into {program.path}/specializations"
        )
    if program.state == "compiling":
        raise NotReady(f"{program.path} is still compiling; read its status")
    raise BrokenProgram(f"{program.path} did not compile; read {program.path}/error")


async def compile_derived(program: Program) -> None:
    """Compiles a derived program that was not used yet: reading its files is a first use."""
    if isinstance(program, DerivedProgram):
        with contextlib.suppress(BrokenProgram, NotSupported):  # the read that follows raises
            await program.wait_compiled()


def _quarantine(mount: Mount, program: Program, caller: Credentials) -> str:
    """Returns why the caller's engine refuses to run a program.

    Returns:
        The reason; empty if the engine runs it.
    """
    if program.compiled is None:
        return ""
    return mount.engines.of(caller.uid).quarantined.get(program.compiled.executable.key, "")


def _status(mount: Mount, program: Program, caller: Credentials) -> bytes:
    compiled, root = program.compiled, root_of(program)
    current = program.current
    return flat_keyed(
        [
            ("state", "quarantined" if _quarantine(mount, program, caller) else program.state),
            ("source", root.source_name),
            ("source_bytes", root.source_bytes),
            ("source_format", current.source_format if current else ""),
            ("sha256", root.source_sha256),
            ("platforms", ",".join(compiled.platforms) if compiled else ""),
            ("device", compiled.device if compiled else program.device),
            ("specializations", len(program.specializations)),
            ("compile_usec", compiled.compile_usec if compiled else 0),
            ("compile_phase", mount.programs.jobs.phase_of(program.building)),
            ("compile_elapsed_usec", program.building_usec),
            ("errno", program.error.errno_name if program.error else ""),
        ]
    )


def _error(mount: Mount, program: Program, caller: Credentials) -> bytes:
    """Returns the error of a program for the caller.

    A program that compiled may still be refused, by the caller's engine only.
    """
    reason = _quarantine(mount, program, caller)
    if reason:
        return RunFailed(reason).text().encode()
    return program.error.text().encode() if program.error else b"ok\n"


def _signature(mount: Mount, program: Program, caller: Credentials) -> bytes:
    """Returns the signature; of an untyped program, what is known of its inputs.

    Raises:
        NotReady: The program is still compiling.
        BrokenProgram: It did not compile.
    """
    if program.untyped is not None:
        each = zip(program.untyped.parameters, program.untyped.inputs, strict=True)
        return lines(f"in {i} {name} {known or '?'}" for i, (name, known) in enumerate(each))
    return compiled_of(program).signature.text().encode()


async def _specialize(mount: Mount, program: Program, caller: Credentials, text: str) -> None:
    """Compiles the specialization for the types of a text: ``f32[16] f32[16]``."""
    types = tuple(parse_aval(word) for word in text.split())
    if not isinstance(await program.wait_compiled(), UntypedProgram):
        raise Invalid(f"{program.path} has types of its own; read {program.path}/signature")
    await mount.programs.derivations.version_for(program, types)
    mount.remember(program)


def _signature_json(mount: Mount, program: Program, caller: Credentials) -> bytes:
    return msgspec.json.encode(compiled_of(program).signature) + b"\n"


def _options(mount: Mount, program: Program, caller: Credentials) -> bytes:
    """Returns the options of a source program, or the steps of a derived one."""
    if isinstance(program, SourceProgram):
        return flat_keyed(sorted(program.options.items()))
    return flat_keyed(
        (f"step_{number}", step) for number, step in enumerate(program.build_key.steps)
    )


async def _set_options(mount: Mount, program: Program, caller: Credentials, text: str) -> None:
    """Compiles a program with the options of a text, one name and value a line.

    Raises:
        NotPermitted: The program is a derived one.
        JaxfsError: What the build raised; the old options stay.
    """
    if not isinstance(program, SourceProgram):
        raise NotPermitted("the options of a transformation are in its path")
    rows = (line.split(None, 1) for line in text.splitlines() if line.strip())
    options = {row[0]: row[1].strip() if len(row) > 1 else "" for row in rows}
    await mount.programs.builds.set_options(program, options)


def _list_specializations(mount: Mount, program: Program) -> Iterable[DirEntry[Program]]:
    for types, derived in program.specializations.items():
        yield PROGRAM.entry(types_name(types), derived)


def _cost(mount: Mount, program: Program, caller: Credentials) -> bytes:
    rows = sorted(compiled_of(program).cost.items())
    return flat_keyed((key, int(value) if value.is_integer() else value) for key, value in rows)


def _memory(mount: Mount, program: Program, caller: Credentials) -> bytes:
    """Returns the compiler's figures; those of inputs and outputs also where it has none."""
    compiled = compiled_of(program)
    known = {
        "argument_bytes": sum(aval.nbytes for aval in compiled.signature.input_avals),
        "output_bytes": sum(aval.nbytes for aval in compiled.signature.output_avals),
    }
    return flat_keyed(sorted({**known, **compiled.memory}.items()))


def _device(mount: Mount, program: Program, caller: Credentials) -> bytes:
    return line(program.compiled.device if program.compiled else program.device)


async def _move(mount: Mount, program: Program, caller: Credentials, text: str) -> None:
    await mount.programs.builds.move(program, text.strip())


async def _open_hlo(mount: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    """Opens the optimized HLO.

    Raises:
        NotFound: The platform's engine compiles the artifact, and shows no HLO.
        JaxfsError: There is no compiled version, see `compiled_of`.
    """
    compiled = compiled_of(program)
    if not compiled.executable.serialized:
        raise NotFound("the compiler of this platform does not show what it made")
    return DiskFile(await mount.programs.builds.intact(compiled, compiled.hlo_path))


async def _open_stablehlo(
    mount: Mount, program: Program, caller: Credentials, flags: int
) -> OpenFile:
    compiled = compiled_of(program)
    return DiskFile(await mount.programs.builds.intact(compiled, compiled.stablehlo_path))


async def _open_graph(mount: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    return DiskFile(await mount.programs.builds.draw(program, compiled_of(program)))


def _checked(mount: Mount, program: Program, caller: Credentials) -> bytes:
    """Returns the report of the caller's own last check: it has values of private inputs."""
    return program.checked.get(caller.uid, "").encode()


async def _open_check(mount: Mount, program: Program, caller: Credentials, flags: int) -> OpenFile:
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return SnapshotFile(_checked(mount, program, caller))

    async def commit(spool: Spool) -> None:
        builds = mount.programs.builds
        try:
            report = await check(builds.intact, mount.calls, mount.compiler, program, caller, spool)
        except Exception as error:
            program.checked[caller.uid] = from_exception(error, "checking").text()
            raise
        program.checked[caller.uid] = report

    return UploadFile(mount.calls.admission.spool(caller.uid), commit, flags)


def _text_file(
    name: str,
    format_: str,
    help_text: str,
    read: Callable[[Mount, Program, Credentials], bytes],
    write: Callable[[Mount, Program, Credentials, str], Awaitable[None]] | None = None,
    *,
    compiles: bool = False,
    target: Callable[[Program], object] | None = None,
) -> FileSpec[Program]:
    """Returns the spec of a control file.

    With ``compiles``, opening it compiles the program; with ``target``, it waits for the commits
    of that.
    """
    return FileSpec(
        f"{PROGRAM.pattern}/{name}",
        0o644 if write else 0o444,
        format_,
        help_text,
        read=read,
        write=write,
        target=target,
        settles=write is not None or target is not None,
        prepare=compile_derived if compiles else None,
    )


def _compiled_file(
    name: str,
    format_: str,
    help_text: str,
    open_: Callable[[Mount, Program, Credentials, int], Awaitable[OpenFile]],
    path: Callable[[CompiledProgram], Path],
) -> FileSpec[Program]:
    """Returns the spec of a file that the state directory has for a compiled program."""
    return FileSpec(
        f"{PROGRAM.pattern}/{name}",
        0o444,
        format_,
        help_text,
        open=open_,
        size=lambda mount, program: size_of(path(compiled_of(program))),
        prepare=compile_derived,
    )


SPECS: tuple[NodeSpec, ...] = (
    PROGRAM,
    FileSpec[Program](
        f"{PROGRAM.pattern}/status",
        0o444,
        "flat keyed",
        "state compiling|ready|untyped|unused|failed|quarantined, and what it was made of; "
        "poll(2) reports changes: POLLPRI",
        read=_status,
        changed=lambda program: program.changed,
    ),
    _text_file(
        "error",
        "text",
        '"ok", or why the last write failed or no call is taken',
        _error,
        target=lambda program: program,
    ),
    _text_file(
        "signature",
        "newline-separated",
        "a line for each input and output; write types, f32[16] i32[], to compile ahead for them",
        _signature,
        _specialize,
        compiles=True,
    ),
    _text_file("signature.json", "json", "the same for programs", _signature_json, compiles=True),
    _compiled_file(
        "stablehlo.mlir",
        "text",
        "what is compiled",
        _open_stablehlo,
        lambda compiled: compiled.stablehlo_path,
    ),
    _compiled_file(
        "hlo.txt", "text", "what the compiler made", _open_hlo, lambda compiled: compiled.hlo_path
    ),
    _text_file(
        "cost",
        "flat keyed",
        "flops, bytes_accessed ... by the compiler's reckoning",
        _cost,
        compiles=True,
    ),
    _text_file(
        "memory",
        "flat keyed",
        "argument, output, temporary, peak and code bytes",
        _memory,
        compiles=True,
    ),
    _text_file("device", "single value", "where it runs; write another to move it", _device, _move),
    _text_file(
        "options",
        "flat keyed",
        "what the function's jit was given, and may be: static_argnums, donate_argnums, mesh ...",
        _options,
        _set_options,
    ),
    DirectorySpec[Program, Program](
        f"{PROGRAM.pattern}/specializations",
        0o755,
        "a program like this one for each set of input types it was called with",
        entries=_list_specializations,
    ),
    _text_file(
        "stats",
        "flat keyed",
        "calls, errors, quantiles of times",
        lambda mount, program, caller: flat_keyed(program.stats.rows()),
    ),
    FileSpec[Program](
        f"{PROGRAM.pattern}/check",
        0o666,
        "nested keyed",
        "write inputs, or random, then read how far the outputs are from those of StableHLO's "
        "reference interpreter",
        open=_open_check,
        read=_checked,
        settles=True,
    ),
    _compiled_file(
        "graph.svg",
        "SVG",
        "the program as a picture; made when it is first opened, and of size 0 before",
        _open_graph,
        lambda compiled: compiled.graph_path,
    ),
)
