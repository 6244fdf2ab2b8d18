"""read(2) of each kind of file."""

from __future__ import annotations

import json
import os

import msgspec
import pytest

import jaxfs
from jaxfs.errors import BrokenProgram, Invalid, NotPermitted, RunFailed
from jaxfs.options import Options
from jaxfs.testing import FakeEngines
from jaxfs.types.signature import Signature
from tests.unmounted import ADD, ALICE, BOB, DOUBLE, PARTIAL, UNTYPED, serving


async def test_readme_describes_every_file() -> None:
    async with serving() as mount:
        text = await mount.client.text("README")
        for word in ("programs/<program>/call", "results/<id>", "arrays/<name>", "EDQUOT"):
            assert word in text


async def test_version_names_jaxfs_and_the_toolchain() -> None:
    async with serving() as mount:
        text = await mount.client.text("version")
        assert text.startswith(f"jaxfs {jaxfs.__version__} jax 0.0.0")


async def test_health_is_degraded_while_an_engine_restarts() -> None:
    async with serving(add=ADD) as mount:
        assert (await mount.client.keyed("health"))["state"] == "ok"
        mount.engine.die()
        health = await mount.client.keyed("health")
        assert (health["state"], health["engine"]) == ("degraded", "restarting")
        assert await mount.client.text("devices/cpu:0/health") == "restarting\n"
        mount.engine.restart()
        health = await mount.client.keyed("health")
        assert (health["state"], health["engine_restarts"]) == ("ok", "1")


async def test_health_has_the_reason_for_which_no_engine_starts() -> None:
    async with serving(add=ADD) as mount:
        assert "engine_failure" not in await mount.client.keyed("health")
        mount.engine.state = "failed"
        mount.engine.failure = "the engine cannot start: /dev/nvidia-uvm is missing"
        health = await mount.client.keyed("health")
        assert (health["state"], health["engine"]) == ("degraded", "failed")
        assert health["engine_failure"] == mount.engine.failure


async def test_a_status_shows_what_the_program_was_made_of() -> None:
    async with serving(add=ADD) as mount:
        status = await mount.client.keyed("programs/add/status")
        assert status["state"] == "ready"
        assert status["source"] == "add.mlir"
        assert status["source_bytes"] == str(len(ADD))
        assert status["source_format"] == "stablehlo_text"
        assert status["device"] == "cpu:0"
        assert status["errno"] == ""


async def test_a_signature_names_inputs_and_outputs() -> None:
    async with serving(add=ADD) as mount:
        lines = (await mount.client.text("programs/add/signature")).splitlines()
        assert lines == ["in 0 x f32[2]", "in 1 y f32[2]", "out 0 total f32[2]"]
        data = await mount.client.read("programs/add/signature.json")
        assert msgspec.json.decode(data, type=Signature).outputs[0].name == "total"


async def test_a_signature_without_types_shows_what_is_known() -> None:
    async with serving(twice=UNTYPED, sums=PARTIAL) as mount:
        assert await mount.client.text("programs/twice/signature") == "in 0 x ?\n"
        assert (
            await mount.client.text("programs/sums/signature") == "in 0 x f32[n]\nin 1 y f32[n]\n"
        )
        assert (await mount.client.keyed("programs/twice/status"))["state"] == "untyped"
        with pytest.raises(Invalid, match="specializations"):
            await mount.client.read("programs/twice/cost")


async def test_memory_has_the_compilers_figures_and_the_sizes_of_arrays() -> None:
    async with serving(add=f"{ADD} # temp_bytes=512 flops=7") as mount:
        memory = await mount.client.keyed("programs/add/memory")
        assert memory == {"argument_bytes": "16", "output_bytes": "8", "temp_bytes": "512"}
        assert await mount.client.keyed("programs/add/cost") == {"flops": "7"}


async def test_what_was_compiled_can_be_read() -> None:
    async with serving(add=ADD) as mount:
        assert await mount.client.text("programs/add/stablehlo.mlir") == ADD
        assert await mount.client.text("programs/add/hlo.txt") == ADD
        assert await mount.client.text("programs/add.mlir") == ADD


async def test_where_the_engine_compiles_there_is_no_hlo_text() -> None:
    async with serving(add=ADD, engines=FakeEngines(platform="cuda")) as mount:
        with pytest.raises(Exception, match="does not show what it made"):
            await mount.client.read("programs/add/hlo.txt")


async def test_an_error_explains_why_a_program_does_not_serve() -> None:
    async with serving(add=ADD) as mount:
        assert await mount.client.text("programs/add/error") == "ok\n"
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        assert (await mount.client.text("programs/bad/error")).startswith("EINVAL: not a program")
        assert (await mount.client.keyed("programs/bad/status"))["state"] == "failed"
        with pytest.raises(BrokenProgram):
            await mount.client.read("programs/bad/signature")


async def test_a_quarantined_program_reports_it() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        (run,) = mount.engine.runs.values()
        mount.engine.quarantined[run.executable.key] = "it killed the engine twice"
        mount.engine.release()
        assert (await mount.client.keyed("programs/add/status"))["state"] == "quarantined"
        assert await mount.client.text("programs/add/error") == "EIO: it killed the engine twice\n"
        with pytest.raises(RunFailed, match="twice"):
            await mount.client.read("results/1")


async def test_the_picture_is_drawn_when_it_is_first_read_and_kept() -> None:
    async with serving(add=ADD) as mount:
        assert mount.client.stat("programs/add/graph.svg").size == 0
        for _ in range(2):
            assert "<text>add</text>" in await mount.client.text("programs/add/graph.svg")
        assert mount.compiler.count("draw") == 1
        assert mount.client.stat("programs/add/graph.svg").size > 0


async def test_stats_count_calls_and_errors() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        mount.engine.fail()
        stats = await mount.client.keyed("programs/add/stats")
        assert (stats["calls"], stats["errors"], stats["run_p50_usec"]) == ("2", "1", "10")


async def test_a_call_file_read_without_a_request_shows_how_it_is_used() -> None:
    async with serving(add=ADD) as mount:
        text = await mount.client.text("programs/add/call")
        assert "exec 3<>programs/add/call" in text
        assert "in 0 x f32[2]" in text


async def test_help_lists_transformations_and_their_options() -> None:
    async with serving() as mount:
        assert "hessian" in await mount.client.text("transformations/help")
        assert "argnums" in await mount.client.text("transformations/grad:argnums=1/help")


async def test_the_error_log_shows_a_user_their_own_errors() -> None:
    async with serving() as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        assert "programs/bad.mlir EINVAL not a program" in await mount.client.text("error_log")
        assert await mount.user(ALICE).text("error_log") == ""


async def test_a_failed_call_is_in_the_error_log_once() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        mount.engine.fail(error=RunFailed("out of luck"))
        for _ in range(3):
            with pytest.raises(RunFailed):
                await mount.client.read("results/1")
        assert (await mount.client.text("error_log")).count("out of luck") == 1


async def test_devices_show_what_jax_knows_of_them() -> None:
    async with serving(add=ADD) as mount:
        for name in mount.client.ls("devices/cpu:0"):
            assert await mount.client.read(f"devices/cpu:0/{name}"), name
        assert (await mount.client.keyed("devices/cpu:0/attributes")) == {"fake": "1"}


async def test_a_device_shows_its_memory_and_its_unfinished_calls() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.memory = {0: {"bytes_limit": 1 << 30, "bytes_in_use": 4096}}
        await mount.client.write("arrays/w", "[1, 2]")
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        memory = await mount.client.keyed("devices/cpu:0/memory")
        assert (memory["bytes_in_use"], memory["host_arrays_bytes"]) == ("4096", "8")
        assert (await mount.client.keyed("devices/cpu:0/queue"))["unfinished_calls"] == "1"


async def test_metrics_have_no_rows_of_programs_that_the_reader_may_not_read() -> None:
    async with serving(add=ADD) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/secret.mlir", ADD, mode=0o600)
        await alice.ask("programs/secret/call", "[1, 2] [3, 4]")
        await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")
        shown = {uid: await mount.user(uid).text("metrics") for uid in (0, ALICE, BOB)}
        assert all("programs/add" in text for text in shown.values())
        assert [uid for uid, text in shown.items() if "programs/secret" in text] == [0, ALICE]


async def test_metrics_count_calls_compiles_and_errors() -> None:
    async with serving(add=ADD, options=Options()) as mount:
        await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        metrics = await mount.client.keyed("metrics")
        assert metrics["jaxfs_calls_total"] == "1"
        assert metrics["jaxfs_programs"] == "2"
        assert metrics['jaxfs_errors_total{errno="EINVAL"}'] == "1"
        assert metrics['jaxfs_job_errors_total{job="trace",errno="EINVAL"}'] == "1"
        assert metrics['jaxfs_program_call_seconds_count{program="programs/add"}'] == "1"


async def test_metrics_have_the_memory_of_devices_that_report_it() -> None:
    async with serving(add=ADD, engines=FakeEngines(platform="cuda")) as mount:
        mount.engine.memory = {0: {"bytes_limit": 1 << 30, "bytes_in_use": 4096}}
        metrics = await mount.client.keyed("metrics")
        assert metrics['jaxfs_device_memory_used_bytes{device="cuda:0"}'] == "4096"


async def test_the_trace_shows_a_user_their_own_calls_and_the_owner_all() -> None:
    async with serving(add=ADD) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.write("programs/add/calls/2", "[1, 2] [3, 4]")
        await mount.client.read("results/2")
        for client, expected in ((alice, {"1"}), (mount.client, {"1", "2"})):
            events = json.loads(await client.text("trace"))["traceEvents"]
            assert {event["args"].get("call") for event in events} - {None} == expected


async def test_the_trace_shows_what_became_of_compiles_and_calls() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        mount.engine.fail()
        events = json.loads(await mount.client.text("trace"))["traceEvents"]
        assert json.loads(await mount.client.text("trace"))["traceEvents"] == events
        kinds = {(event.get("cat"), event["args"].get("errno")) for event in events}
        assert {("trace", ""), ("trace", "EINVAL"), ("compile", ""), ("front", "EIO")} <= kinds


async def test_reads_at_any_offset_give_the_same_bytes() -> None:
    async with serving(add=ADD) as mount:
        whole = await mount.client.read("programs/add.mlir")
        async with mount.client.open("programs/add.mlir") as file:
            pieces = [await file.read(3) for _ in range(0, len(whole), 3)]
            assert b"".join(pieces) == whole
            assert await file.read() == b""
            assert await file.pread(4, 5) == whole[4:9]


@pytest.mark.parametrize("path", ["programs/add/call", "programs/double/device"])
async def test_a_file_opened_for_writing_only_cannot_be_read_beyond_what_is_there(
    path: str,
) -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        file = await mount.client.open_file(path, os.O_WRONLY)
        assert await file.read() == b""
        file.release()


async def test_an_open_source_stays_as_it_was_opened() -> None:
    async with serving(add=ADD) as mount, mount.client.open("programs/add.mlir") as file:
        await mount.client.write("programs/add.mlir", DOUBLE)
        assert (await file.read_all()).decode() == ADD


async def test_a_file_that_the_state_directory_lost_is_made_again() -> None:
    async with serving(add=ADD) as mount:
        for path in (mount.state_dir / "artifacts").iterdir():
            (path / "stablehlo.mlir").unlink()
        assert (await mount.client.text("programs/add/stablehlo.mlir")).startswith("add(")
        assert mount.compiler.count("trace") == 2


async def test_readlink_of_what_is_no_link_is_refused() -> None:
    async with serving() as mount:
        with pytest.raises(Invalid, match="no symbolic link"):
            mount.vfs.readlink(mount.client.stat("version").ino)


async def test_options_of_a_transformation_are_in_its_path() -> None:
    async with serving(double=DOUBLE) as mount:
        path = "transformations/vmap:in_axes=1/grad/double/options"
        assert await mount.client.keyed(path) == {"step_0": "vmap:in_axes=1", "step_1": "grad"}
        with pytest.raises(NotPermitted, match="path"):
            await mount.client.write(path, "x 1")
