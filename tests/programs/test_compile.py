"""Writing a program compiles it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from jaxfs.engine.protocol import CompileFigures
from jaxfs.errors import (
    AccessDenied,
    BrokenProgram,
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    NameTooLong,
    NoDevice,
    NoSpace,
    RunFailed,
    TimedOut,
)
from jaxfs.options import Options
from jaxfs.testing import PICKLE, FakeCompiler, FakeEngines, eventually_async, open_vfs
from tests.unmounted import ADD, ALICE, DOUBLE, UNTYPED, serving

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"


@pytest.mark.parametrize("extension", ["mlir", "mlirbc", "jaxexport", "pkl"])
async def test_the_extension_does_not_decide_what_a_source_is(extension: str) -> None:
    async with serving() as mount:
        await mount.client.write(f"programs/add.{extension}", ADD)
        assert (await mount.client.keyed("programs/add/status"))["state"] == "ready"


@pytest.mark.parametrize("kind", ["trace", "compile"])
@pytest.mark.parametrize(
    "error", [Invalid("bad"), NoSpace("full"), TimedOut("slow"), RunFailed("died")]
)
async def test_close_returns_what_the_compile_raises(kind: str, error: JaxfsError) -> None:
    async with serving() as mount:
        mount.compiler.fail(kind, error)  # type: ignore[arg-type]  # a JobKind
        with pytest.raises(type(error), match=error.reason):
            await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.text("programs/add/error") == error.text()
        assert (await mount.client.keyed("programs/add/status"))["errno"] == error.errno_name
        await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.text("programs/add/error") == "ok\n"


async def test_a_failed_overwrite_leaves_the_previous_version_serving() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/add.mlir", "no program")
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert (await mount.client.text("programs/add/error")).startswith("EINVAL")
        assert await mount.client.text("programs/add.mlir") == ADD


async def test_a_source_that_never_worked_can_be_read() -> None:
    async with serving() as mount:
        for text in ("no program", "no program either"):
            with pytest.raises(Invalid):
                await mount.client.write("programs/bad.mlir", text)
            assert await mount.client.text("programs/bad.mlir") == text


async def test_a_version_serves_until_the_next_one_is_there() -> None:
    async with serving(p=DOUBLE) as mount:
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/p.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("compile") == 2)
            assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[2.0, 4.0]\n"
            assert (await mount.client.keyed("programs/p/status"))["state"] == "ready"
            mount.compiler.release("compile")
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM


async def test_an_older_version_that_is_late_replaces_nothing() -> None:
    async with serving() as mount:
        older = mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/p.mlir", DOUBLE)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            mount.compiler.hold("compile").set()
            await mount.client.write("programs/p.mlir", ADD)
            older.set()
        assert await mount.client.text("programs/p.mlir") == ADD
        assert await mount.client.ask("programs/p/call", REQUEST) == SUM


async def test_the_same_content_compiles_once_whoever_writes_it() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/one.mlir", ADD)
            nursery.start_soon(mount.user(ALICE).write, "programs/two.mlir", ADD)
            await trio.testing.wait_all_tasks_blocked()
            mount.compiler.release("compile")
        await mount.client.write("programs/three.mlir", ADD)
        assert [job.kind for job in mount.compiler.jobs] == ["trace", "compile"]


async def test_a_compile_runs_with_the_rights_of_the_author() -> None:
    async with serving() as mount:
        await mount.user(ALICE, 7).write("programs/add.mlir", ADD)
        assert {job.user for job in mount.compiler.jobs} == {(ALICE, 7)}


async def test_compiles_wait_for_their_turn() -> None:
    async with serving(compiler=FakeCompiler(limit=1)) as mount:
        mount.compiler.hold("compile")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mount.client.write, "programs/one.mlir", ADD)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            nursery.start_soon(mount.client.write, "programs/two.mlir", DOUBLE)
            await trio.testing.wait_all_tasks_blocked()
            status = await mount.client.keyed("programs/two/status")
            assert status["compile_phase"] == "waiting"
            assert int(status["compile_elapsed_usec"]) >= 0
            mount.compiler.release("compile")
        assert (await mount.client.keyed("programs/two/status"))["compile_phase"] == ""


async def test_a_program_that_is_removed_while_it_compiles_is_cancelled() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")

        async def write() -> None:
            with pytest.raises(Cancelled):
                await mount.client.write("programs/add.mlir", ADD)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await eventually_async(lambda: mount.compiler.count("compile") == 1)
            mount.client.unlink("programs/add.mlir")
            mount.compiler.release("compile")
        assert mount.client.ls("programs") == []


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("add", Invalid),
        ("add.exe", Invalid),
        ("grad.mlir", Invalid),
        ("help.mlir", Invalid),
        ("bad name.mlir", Invalid),
        ("-x.mlir", Invalid),
        (f"{'x' * 125}.mlir", NameTooLong),
        (f".{'x' * 128}", NameTooLong),
        (".bad name", Invalid),
        ("taken.pkl", NameTaken),
    ],
)
async def test_other_names_are_refused(name: str, error: type[Exception]) -> None:
    async with serving(taken=ADD) as mount:
        with pytest.raises(error):
            await mount.client.write(f"programs/{name}", DOUBLE)
        assert mount.client.ls("programs") == ["taken", "taken.mlir"]


async def test_an_empty_file_is_no_program() -> None:
    async with serving() as mount:
        await mount.client.write("programs/add.mlir", "")
        assert (await mount.client.text("programs/add/error")).startswith("EINVAL: nothing was")
        await mount.client.rename("programs/add.mlir", "programs/.old")
        with pytest.raises(Invalid, match="empty"):
            await mount.client.rename("programs/.old", "programs/again.mlir")


async def test_a_program_for_several_devices_runs_on_the_first_ones() -> None:
    async with serving(engines=FakeEngines(devices=4)) as mount:
        await mount.client.write("programs/wide.mlir", f"{ADD} # devices=3")
        status = await mount.client.keyed("programs/wide/status")
        assert status["device"] == "cpu:0 cpu:1 cpu:2"
        with pytest.raises(NoDevice, match="runs on 5 devices at once"):
            await mount.client.write("programs/wider.mlir", f"{ADD} # devices=5")


async def test_where_the_engine_compiles_it_is_asked_to_load() -> None:
    async with serving(engines=FakeEngines(platform="cuda")) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        assert len(mount.engine.loaded) == 1
        assert mount.compiler.count("compile") == 0
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        mount.engine.load_error = NoSpace("device memory is full")
        with pytest.raises(NoSpace, match="device memory"):
            await mount.client.write("programs/double.mlir", DOUBLE)


async def test_what_the_engine_found_by_compiling_is_shown_and_limits_runs(
    tmp_path: Path,
) -> None:
    for is_again in (False, True):  # after a remount the engine has not compiled it yet
        engines = FakeEngines(platform="cuda", bytes_limit=1 << 30)
        if not is_again:
            figures = CompileFigures(7, {"flops": 2.0}, {"temp_bytes": 1 << 40})
            engines.owner.compiled = figures
        async with open_vfs(engines=engines, state_dir=tmp_path) as mount:
            if not is_again:
                await mount.client.write("programs/add.mlir", ADD)
            assert await mount.client.read("programs/add/cost") == b"flops 2\n"
            memory = await mount.client.keyed("programs/add/memory")
            assert memory["temp_bytes"] == str(1 << 40)
            with pytest.raises(NoSpace, match=f"{1 << 40} temporary"):
                await mount.client.ask("programs/add/call", REQUEST)


@pytest.mark.parametrize(
    ("rule", "owner", "other"),
    [("owner", True, False), ("all", True, True), ("off", False, False), ("unsafe", True, False)],
)
async def test_the_pickle_option_decides_which_users_functions_are_taken(
    rule: str, owner: bool, other: bool
) -> None:
    async with serving(Options(pickle=rule)) as mount:
        for client, is_taken in ((mount.client, owner), (mount.user(ALICE), other)):
            name = f"programs/f{client.credentials.uid}.pkl"
            if is_taken:
                await client.write(name, PICKLE + ADD.encode())
                assert client.exists(name)
            else:
                with pytest.raises(AccessDenied):
                    await client.write(name, PICKLE + ADD.encode())


async def test_options_are_those_of_the_functions_jit() -> None:
    async with serving() as mount:
        await mount.client.write("programs/f.pkl", PICKLE + ADD.encode())
        await mount.client.write("programs/f/options", "donate_argnums 0\nname  x y \n\nflag\n")
        options = await mount.client.text("programs/f/options")
        assert options == "donate_argnums 0\nflag\nname x y\n"
        traced = [job for job in mount.compiler.jobs if job.kind == "trace"][-1]
        assert traced.options == {"donate_argnums": "0", "flag": "", "name": "x y"}


async def test_options_that_do_not_work_change_nothing() -> None:
    async with serving(f=ADD) as mount:
        mount.compiler.fail("trace", Invalid("no such option"))
        with pytest.raises(Invalid, match="no such option"):
            await mount.client.write("programs/f/options", "x 1")
        assert await mount.client.text("programs/f/options") == ""
        assert await mount.client.ask("programs/f/call", REQUEST) == SUM


async def test_a_failing_interrupted_compile_is_shown_and_ends_nothing_else() -> None:
    async with serving() as mount:
        mount.compiler.hold("trace")
        mount.compiler.fail("trace", Invalid("bad"))
        file = await mount.client.open_file("programs/add.mlir", os.O_CREAT | os.O_WRONLY)
        await file.write(ADD.encode())
        with trio.move_on_after(0):
            await file.flush()
        file.release()
        mount.compiler.release("trace")
        await eventually_async(lambda: not mount.mount.programs.jobs.under_way)
        with pytest.raises(BrokenProgram):
            await mount.client.ask("programs/add/call", REQUEST)


async def test_a_bug_in_a_compile_is_a_failed_write_and_no_more() -> None:
    async with serving(add=ADD) as mount:

        async def broken(*args: object, **kwargs: object) -> None:
            raise ZeroDivisionError

        mount.compiler.trace = broken  # type: ignore[method-assign,assignment]  # a bug
        with pytest.raises(RunFailed, match="internal error: ZeroDivisionError"):
            await mount.client.write("programs/double.mlir", DOUBLE)
        with pytest.raises(BrokenProgram):
            await mount.client.ask("transformations/grad/add/call", REQUEST)
        assert "internal error" in await mount.client.text("transformations/grad/add/error")
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


async def test_types_written_to_signature_compile_ahead() -> None:
    async with serving(twice=UNTYPED, add=ADD) as mount:
        await mount.client.write("programs/twice/signature", "f32[2]\n")
        assert mount.client.ls("programs/twice/specializations") == ["f32_2"]
        before = mount.compiler.count("compile")
        assert await mount.client.ask("programs/twice/call", "[1.5, 2]") == b"[3.0, 4.0]\n"
        assert mount.compiler.count("compile") == before
        with pytest.raises(Invalid, match="types of its own"):
            await mount.client.write("programs/add/signature", "f32[2]")
        for text in ("f32[2", "f32[2] f32[2]", "what"):
            with pytest.raises(Invalid):
                await mount.client.write("programs/twice/signature", text)
