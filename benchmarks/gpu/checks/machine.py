"""A0: what this machine and its JAX are."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import jax

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.outcomes import Found, Value

SMI = (
    "name",
    "driver_version",
    "memory.total",
    "mig.mode.current",
    "persistence_mode",
    "ecc.mode.current",
)
SMI_S = 15.0


def _driver() -> dict[str, Value]:
    """Returns what nvidia-smi reports of the first card."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return {"nvidia_smi": "absent"}
    command = [smi, f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_S, check=False)
    if done.returncode:
        return {"nvidia_smi": (done.stderr or done.stdout).strip()[:200]}
    cells = done.stdout.splitlines()[0].split(", ")
    return dict(zip(SMI, cells, strict=False))


def _kernel() -> dict[str, Value]:
    filesystems = Path("/proc/filesystems").read_text().split()
    return {
        "python": platform.python_version(),
        "glibc": platform.libc_ver()[1],
        "cores": len(os.sched_getaffinity(0)),
        "fuse": "fuse" in filesystems,
        "dev_fuse": Path("/dev/fuse").exists(),
        "compiler": shutil.which("cc") is not None,
        "ptxas": shutil.which("ptxas") or "not on PATH",
        "compute_sanitizer": shutil.which("compute-sanitizer") or "not on PATH",
    }


async def describe(_: Bench) -> Found:
    """Records what is there; met if JAX has a device of the platform."""
    devices = jax.devices()
    device = devices[0]
    memory = device.memory_stats() or {}
    public = [name for name in dir(device.client) if not name.startswith("_")]
    figures: dict[str, Value] = {
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "devices": ", ".join(map(str, devices)),
        "device_kind": device.device_kind,
        "platform_version": " ".join(device.client.platform_version.split()),
        "bytes_limit": memory.get("bytes_limit", 0),
        "memory_stats": " ".join(sorted(memory)),
        "client": " ".join(public),
    }
    return Found(True, {**figures, **_driver(), **_kernel()})


CHECKS = {"A0": describe}
