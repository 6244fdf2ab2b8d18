"""Programs are compiled apart from the engine that runs them, wherever XLA knows its devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxfs.errors import Invalid, TimedOut
from jaxfs.options import Options
from jaxfs.testing import FakeCompiler, FakeEngines, InProcessMount, open_vfs
from jaxfs.types.compile_target import CompileTarget
from tests.unmounted import ADD

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"
H100 = CompileTarget("cuda", 'name: "H100" core_count: 132', "NVIDIA H100, cuda 13000")
ENGINE = Options(compile="engine")


def gpu(target: CompileTarget = H100) -> FakeEngines:
    """Engines with one GPU, which report ``target``."""
    engines = FakeEngines(platform="gpu")
    engines.target = target
    return engines


async def has_compiled(mount: InProcessMount, kind: str = "compile") -> int:
    """Writes ``add`` and calls it; returns how many jobs of a kind that took."""
    await mount.client.write("programs/add.mlir", ADD)
    assert await mount.client.ask("programs/add/call", REQUEST) == SUM
    return mount.compiler.count(kind)  # type: ignore[arg-type]  # a JobKind


async def test_a_program_for_a_gpu_is_compiled_in_a_job_and_the_engine_only_loads_it() -> None:
    async with open_vfs(engines=gpu()) as mount:
        assert await has_compiled(mount) == 1
        assert mount.compiler.jobs[-1].target == H100
        assert mount.engine.loaded == []
        assert await mount.client.text("programs/add/hlo.txt") == ADD


@pytest.mark.parametrize(
    ("target", "options"),
    [(H100, ENGINE), (CompileTarget("tpu"), Options())],
    ids=["option", "tpu"],
)
async def test_the_engine_compiles_where_the_option_or_the_platform_needs_it(
    target: CompileTarget, options: Options
) -> None:
    async with open_vfs(options, engines=gpu(target)) as mount:
        assert await has_compiled(mount) == 0
        assert len(mount.engine.loaded) == 1


async def test_cpu_programs_are_compiled_apart_whatever_the_option() -> None:
    async with open_vfs(ENGINE) as mount:
        assert await has_compiled(mount) == 1


@pytest.mark.parametrize(("raw", "lowered"), [("cuda", "cuda"), ("rocm", "rocm")])
async def test_a_gpu_gets_programs_lowered_for_its_own_platform(raw: str, lowered: str) -> None:
    async with open_vfs(engines=gpu(CompileTarget(raw, "name: 'x'"))) as mount:
        await has_compiled(mount)
        assert [job.platform for job in mount.compiler.jobs if job.kind == "trace"] == [lowered]


@pytest.mark.parametrize(
    ("second", "is_other"),
    [
        (H100, False),
        (CompileTarget("cuda", '\nname:  "H100"  core_count: 132\n', H100.versions), False),
        (CompileTarget("cuda", 'name: "H100" core_count: 16', H100.versions), True),
        (CompileTarget("cuda", H100.config, "NVIDIA H100 MIG 1g.10gb, cuda 13000"), True),
        (CompileTarget("cuda", H100.config, "NVIDIA H100, cuda 12090"), True),
    ],
    ids=["same", "other white space", "other card", "MIG", "driver"],
)
async def test_a_stored_executable_serves_the_same_devices_only(
    tmp_path: Path, second: CompileTarget, is_other: bool
) -> None:
    async with open_vfs(state_dir=tmp_path, engines=gpu()) as mount:
        assert await has_compiled(mount) == 1
    async with open_vfs(state_dir=tmp_path, engines=gpu(second)) as mount:
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == is_other
        assert mount.compiler.count("trace") == 0


async def test_a_compile_in_the_engine_has_the_deadline_of_a_compile() -> None:
    async with open_vfs(Options(compile="engine", compile_timeout=0.05), engines=gpu()) as mount:
        mount.engine.load_s = 3600
        with pytest.raises(TimedOut, match=r"0\.05 s"):
            await mount.client.write("programs/add.mlir", ADD)
        assert mount.engine.restarts == 1
        mount.engine.load_s = 0
        assert await has_compiled(mount) == 0


async def test_a_refusal_of_the_compiler_is_a_verdict_and_a_failed_job_none() -> None:
    compiler = FakeCompiler()
    compiler.fail("compile", Invalid("the compiler refused the program: UNIMPLEMENTED: x"))
    async with open_vfs(engines=gpu(), compiler=compiler) as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/add.mlir", ADD)
        assert (await mount.client.keyed("programs/add/status"))["errno"] == "EINVAL"
