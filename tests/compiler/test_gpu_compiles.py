"""Jobs compile for a GPU that this machine need not have; skipped where JAX has no CUDA plugin."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jaxfs.compiler.client.client import CompilerClient
from jaxfs.compiler.job_protocol import Compile, Compiled
from jaxfs.compiler.sandbox.gpu_tools import find_tools
from jaxfs.errors import Invalid, NoDevice, RunFailed, TimedOut
from jaxfs.jaxcompat import topologies
from jaxfs.types.compile_target import CompileTarget
from jaxfs.types.signature import Signature
from tests.compiler.conftest import SAXPY, BlockingTracer, memory_file
from tests.compiler.test_other_platforms import pickled, polar, symmetric_product

H100 = CompileTarget("cuda", Path(__file__).with_name("h100.txtpb").read_text(), "cuda 13000")
PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


HAS_PLUGIN = any(map(_has, PLUGINS))
needs_plugin = pytest.mark.skipif(
    not (HAS_PLUGIN and find_tools().programs), reason="needs jax[cuda13], with or without a GPU"
)


class Made(NamedTuple):
    """What a compile job gives."""

    compiled: Compiled
    executable: bytes
    hlo: bytes


async def compile_for(
    client: CompilerClient,
    artifact: bytes,
    signature: Signature,
    target: CompileTarget,
    devices: tuple[tuple[int, ...], int],
) -> Made:
    with memory_file(artifact) as fd:
        return Made(*await client.compile(fd, Compile(target, *devices, signature)))


def build(
    tracer: BlockingTracer,
    source: str | bytes,
    target: CompileTarget = H100,
    devices: tuple[tuple[int, ...], int] = ((0,), 1),
) -> Made:
    made = tracer.made(source, platform="cuda")
    signature = made.traced.signature
    return tracer.run(compile_for, made.artifact, signature, target, devices)


def matmul(x: object, y: object) -> object:
    return x @ y  # type: ignore[operator]  # arrays


@needs_plugin
@pytest.mark.parametrize(
    "source",
    [
        SAXPY,
        pickled(matmul, (256, 256), (256, 256)),
        pickled(jnp.linalg.cholesky, (16, 16)),
        pickled(jnp.sin, (4096,)),
        pickled(jnp.linalg.eig, (4, 4)),
        pickled(polar, (5, 3)),
        pickled(symmetric_product, (4, 3), (4, 4)),
    ],
    ids=["saxpy", "matmul", "cholesky", "sin", "eig", "polar", "symmetric product"],
)
def test_a_job_compiles_for_a_gpu_without_one(tracer: BlockingTracer, source: str | bytes) -> None:
    made = build(tracer, source)
    assert made.executable
    assert b"HloModule" in made.hlo
    assert made.compiled.memory["argument_bytes"] > 0
    assert made.compiled.cost == {}


@needs_plugin
def test_a_job_compiles_for_the_third_gpu_of_four(tracer: BlockingTracer) -> None:
    assert build(tracer, SAXPY, devices=((2,), 4)).executable
    with pytest.raises(NoDevice, match="cuda:4"):
        build(tracer, SAXPY, devices=((4,), 4))


@needs_plugin
def test_devices_are_described_as_a_compile_needs_it() -> None:
    """A worker asks its own devices; those of a description are described alike."""
    found = topologies.target_of(topologies.devices_of(H100, 2))
    assert found.platform == "cuda"
    assert "core_count: 132" in found.config
    assert "NVIDIA H100 80GB HBM3" in found.versions
    assert "jax-cuda1" in found.versions
    assert topologies.devices_of(found, 1)[0].device_kind == "NVIDIA H100 80GB HBM3"


def test_a_cpu_is_described_by_its_name() -> None:
    assert topologies.target_of(jax.devices("cpu")) == CompileTarget("cpu")


@needs_plugin
def test_a_description_that_is_none_is_the_fault_of_no_program(tracer: BlockingTracer) -> None:
    with pytest.raises(RunFailed, match="compile=engine"):
        build(tracer, SAXPY, CompileTarget("cuda", "no description"))


ENDLESS = r"""
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int count, char **words) {
  if (count > 1 && !strcmp(words[1], "--version"))
    return puts("Cuda compilation tools, release 13.0, V13.0.88\nBuild cuda_13.0.r13.0/x") < 0;
  for (;;) pause();
}
"""


@needs_plugin
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_an_assembler_that_never_ends_ends_with_the_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "endless.c").write_text(ENDLESS)
    program = tmp_path / "bin/ptxas"
    subprocess.run(["cc", "-o", program, tmp_path / "endless.c"], check=True)
    monkeypatch.setenv("CUDA_ROOT", str(tmp_path))
    tracer = BlockingTracer(deadline_s=5.0)
    try:
        with pytest.raises(TimedOut, match="compiling took over 5 s"):
            build(tracer, SAXPY)
        assert not list(running(program))
    finally:
        tracer.close()


def running(program: Path) -> Iterator[str]:
    """Yields the processes of a program."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "exe").readlink() == program:
                yield entry.name


@pytest.mark.skipif(HAS_PLUGIN, reason="JAX has a CUDA plugin here")
def test_without_a_plugin_the_reason_names_the_option(tracer: BlockingTracer) -> None:
    with pytest.raises(RunFailed, match=r"for cuda without its device.*-o compile=engine"):
        build(tracer, SAXPY)


def test_a_platform_that_needs_its_device_is_refused(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match="tpu are compiled by the engine"):
        build(tracer, SAXPY, CompileTarget("tpu"))
