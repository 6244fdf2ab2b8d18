"""Python, the packages, and the devices that JAX finds."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

from jaxfs.posix.accelerators import CUDA, install_command
from mountctl.doctor.finding import Examination, Finding, fail, ok, warn

OLDEST_PYTHON = (3, 11)
PACKAGES = ("pyfuse3", "trio", "jaxlib", "numpy")
DEVICES_S = 60
LIST_DEVICES = """
import jax
print(*(f"{device.platform}:{device.id} ({device.device_kind})" for device in jax.devices()))
"""


def python() -> Iterator[Finding]:
    """Checks the version of Python."""
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        yield fail("Python", version, "use Python 3.11 or newer")
    else:
        yield ok("Python", f"{version}, {sys.executable}")


def packages() -> Iterator[Finding]:
    """Checks that the packages that jaxfs imports are installed."""
    for name in PACKAGES:
        try:
            yield ok(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield fail(name, "not installed", f"{sys.executable} -m pip install jaxfs")


def jax() -> Iterator[Finding]:
    """Checks that JAX finds devices, in another process: it takes the device, and may crash."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", LIST_DEVICES],
            capture_output=True,
            text=True,
            timeout=DEVICES_S,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        remedy = "another process may hold the device; nvidia-smi shows which"
        yield fail("JAX devices", f"no answer in {DEVICES_S} s", remedy)
        return
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        yield fail(
            "JAX devices", reason[0], "make this work: python -c 'import jax; jax.devices()'"
        )
        return
    yield ok("jax", metadata.version("jax"))
    yield ok("JAX devices", done.stdout.strip())
    if "An NVIDIA GPU may be present" in done.stderr:
        yield warn("GPU", "there is one that JAX does not use", install_command(CUDA))


EXAMINATIONS: tuple[Examination, ...] = (python, packages, jax)
