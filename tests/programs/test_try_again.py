"""A failure that is no verdict on a program is tried again."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jaxfs.errors import (
    BY_ERRNO,
    BrokenProgram,
    Cancelled,
    Invalid,
    JaxfsError,
    NoSpace,
    NotSupported,
    OverQuota,
    RunFailed,
    TimedOut,
)
from jaxfs.testing import eventually_async, open_vfs
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"
NO_VERDICTS = [RunFailed("killed"), NoSpace("full"), TimedOut("slow"), OverQuota("too many")]
VERDICTS = [Invalid("bad"), NotSupported("cannot be")]


def test_verdicts_are_errors_of_the_program() -> None:
    assert all(not type(error).is_verdict for error in (*NO_VERDICTS, Cancelled("by a user")))
    assert all(type(error).is_verdict for error in VERDICTS)
    assert all(isinstance(kind.is_verdict, bool) for kind in BY_ERRNO.values())


@pytest.mark.parametrize("error", NO_VERDICTS)
@pytest.mark.parametrize("kind", ["trace", "compile"])
async def test_a_specialization_whose_compile_was_ended_is_made_at_the_next_use(
    kind: str, error: JaxfsError, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(twice=UNTYPED) as mount:
        mount.compiler.fail(kind, error)  # type: ignore[arg-type]  # a JobKind
        with caplog.at_level(logging.WARNING), pytest.raises(type(error)):
            await mount.client.ask("programs/twice/call", "[1, 2]")
        assert isinstance(error, OverQuota) or error.reason in caplog.text
        assert await mount.client.ask("programs/twice/call", "[1, 2]") == b"[2, 4]\n"


@pytest.mark.parametrize("error", NO_VERDICTS)
async def test_a_path_whose_compile_was_ended_is_made_at_the_next_use(error: JaxfsError) -> None:
    async with serving(add=ADD) as mount:
        mount.compiler.fail("compile", error)
        with pytest.raises(BrokenProgram):
            await mount.client.ask("transformations/jit/add/call", REQUEST)
        status = await mount.client.keyed("transformations/jit/add/status")
        assert (status["state"], status["errno"]) == ("failed", error.errno_name)
        assert await mount.client.ask("transformations/jit/add/call", REQUEST) == SUM


@pytest.mark.parametrize("error", VERDICTS)
async def test_a_verdict_is_final(error: JaxfsError) -> None:
    async with serving(add=ADD) as mount:
        mount.compiler.fail("trace", error)
        for _ in range(3):
            with pytest.raises(JaxfsError):
                await mount.client.ask("transformations/jit/add/call", REQUEST)
        assert mount.compiler.count("trace") == 2  # one of them is of the program itself


@pytest.mark.parametrize("next_use", ["call", "touch", "write", "path", "remount"])
async def test_a_source_whose_compile_was_ended_is_compiled_again(
    tmp_path: Path, next_use: str
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        mount.compiler.fail("compile", RunFailed("killed"))
        with pytest.raises(RunFailed, match="killed"):
            await mount.client.write("programs/add.mlir", ADD)
        assert (await mount.client.keyed("programs/add/status"))["state"] == "failed"
        if next_use == "touch":
            await mount.client.utime("programs/add.mlir", None, 10**9)
        elif next_use == "write":
            await mount.client.write("programs/add.mlir", ADD)
        elif next_use == "path":
            assert await mount.client.ask("transformations/jit/add/call", REQUEST) == SUM
        elif next_use == "call":
            assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        if next_use != "remount":
            (program,) = mount.mount.programs
            await eventually_async(lambda: program.state == "ready")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


async def test_a_drawing_and_a_check_that_were_ended_are_made_at_the_next_use() -> None:
    async with serving(add=ADD) as mount:
        for kind, path in (("draw", "graph.svg"), ("interpret", "check")):
            mount.compiler.fail(kind, RunFailed("killed"))  # type: ignore[arg-type]  # a JobKind
            for is_ended in (True, False):
                if path == "check":
                    done = mount.client.write(f"programs/add/{path}", "random")
                else:
                    done = mount.client.text(f"programs/add/{path}")  # type: ignore[assignment]  # not used
                if is_ended:
                    with pytest.raises(RunFailed, match="killed"):
                        await done
                else:
                    await done


async def test_a_bad_overwrite_ends_no_good_one_that_still_compiles() -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await mount.client.rename("programs/.new", "programs/p.mlir")
        await eventually_async(lambda: mount.compiler.count("compile") == 2)
        with pytest.raises(Invalid):
            await mount.client.write("programs/p.mlir", "no program")
        mount.compiler.release("compile")
        await eventually_async(lambda: not mount.mount.programs.jobs.under_way)
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM
