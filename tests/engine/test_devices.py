"""What the worker reports of its devices, and a platform that does not start."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trio

from jaxfs.engine.client import process
from jaxfs.engine.client.client import LocalEngine
from jaxfs.engine.client.engines import open_per_user
from jaxfs.engine.protocol import EngineOptions, Ready
from jaxfs.engine.worker import devices
from jaxfs.errors import Invalid, RunFailed
from jaxfs.ipc.shared_memory import Pool
from jaxfs.posix.privileges import User, environment
from jaxfs.testing import fake_engine
from tests.engine.conftest import CPU, Programs, call

ONES = np.ones(8, "f4")
has_gpu = pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="there it would start")


class PluginDevice:
    """A device as a plugin makes it: attributes come by __getattr__, and dir() lists none."""

    platform, id, device_kind, process_index, local_hardware_id = "gpu", 0, "H100", 0, 0
    client = SimpleNamespace(platform_version="cuda 13")

    def __getattr__(self, name: str) -> Any:
        values = {"compute_capability": "9.0", "core_count": 132, "device_vendor": "NVIDIA"}
        if name == "slice_index":
            raise RuntimeError("NOT_FOUND: the plugin cannot get it")
        if name not in values:
            raise AttributeError(name)
        return values[name]


def test_attributes_that_only_getattr_finds_are_reported() -> None:
    found = devices._attributes(PluginDevice())
    assert found["compute_capability"] == "9.0"
    assert found["core_count"] == "132"
    assert found["device_vendor"] == "NVIDIA"
    assert found["platform_version"] == "cuda 13"


def test_an_attribute_that_fails_does_not_stop_the_engine() -> None:
    assert "slice_index" not in devices._attributes(PluginDevice())


@has_gpu
def test_a_platform_without_devices_fails_with_the_reason_in_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "STARTS", 1)

    async def main() -> None:
        engine = LocalEngine(EngineOptions(platform="gpu"), Pool())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            with pytest.raises(RunFailed) as caught:
                await engine.wait_ready()
            assert engine.state == "failed"
            assert engine.failure == caught.value.reason
            await engine.close()
        assert "the engine cannot start: JAX finds no NVIDIA GPU: " in engine.failure
        assert "the NVIDIA driver is not loaded" in engine.failure
        assert "pip install" in engine.failure
        assert engine.failure in caplog.text

    trio.run(main)


def test_the_worker_has_the_environment_of_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".9")
    options = EngineOptions(platform="cpu", memory_fraction=0.5, preallocate=True)

    async def main() -> None:
        worker = process.WorkerProcess(options)
        lines = (await trio.Path(f"/proc/{worker.pid}/environ").read_text()).split("\0")
        await worker.end()
        found = dict(line.split("=", 1) for line in lines if line)
        assert found["JAX_PLATFORMS"] == "cpu"
        assert found["XLA_CLIENT_MEM_FRACTION"] == "0.5"
        assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"
        assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in found

    trio.run(main)


def test_a_dead_worker_is_gone_before_the_next_one_starts(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # libtpu's lock, and the memory of a GPU, are free only then
    pids: list[int] = []

    class Watched(process.WorkerProcess):
        def __init__(self, options: EngineOptions) -> None:
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            super().__init__(options)
            pids.append(self.pid)

    monkeypatch.setattr(process, "WorkerProcess", Watched)

    async def main() -> None:
        engine = LocalEngine(CPU, Pool())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            for _ in range(2):
                await call(engine, programs["f32"], ONES)
                os.kill(engine.pid, 9)
            await call(engine, programs["f32"], ONES)
            await engine.close()
        assert len(pids) == 3

    trio.run(main)


def test_engines_by_user_are_refused_where_jax_chooses_a_tpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ready(worker: process.WorkerProcess) -> Ready:
        return Ready(worker.pid, "tpu", "jaxlib", (fake_engine.device(0, "tpu"),), True)

    monkeypatch.setattr(process.WorkerProcess, "ready", ready)
    monkeypatch.setattr(process, "COMMAND_OF_USER", ("/bin/sleep",))  # two arguments: it ends

    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(Invalid, match="engine=shared")):
            async with open_per_user(EngineOptions(), os.getuid(), 60):
                pass

    trio.run(main)


@pytest.mark.parametrize(
    "name",
    [
        *("NCCL_DEBUG", "CUDNN_LOGINFO_DBG", "CUBLAS_WORKSPACE_CONFIG", "NVTE_FUSED_ATTN"),
        *("ROCM_PATH", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"),
        *("LIBTPU_INIT_ARGS", "PJRT_NPROC", "TPU_VISIBLE_CHIPS", "NVIDIA_TF32_OVERRIDE"),
        *("JAX_PLATFORMS", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL"),
    ],
)
def test_the_engine_of_a_user_keeps_the_variables_of_accelerators(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "7")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    kept = environment(User(1000, 1000, (), "/home/alice"))
    assert kept[name] == "7"
    assert "AWS_SECRET_ACCESS_KEY" not in kept
