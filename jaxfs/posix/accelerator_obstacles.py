"""What keeps JAX from an accelerator: plugin, driver, device files, environment.

JAX finds no device, and its error has no reason, an empty one, or that of a library deep down.
Each check here looks at one thing that a process needs, and names the next step.  What is found may
be harmless where the devices are virtual or emulated: it explains a failure, and prevents no start.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from jaxfs.posix import accelerators
from jaxfs.posix.accelerators import (
    CUDA,
    TABLE,
    TPU,
    Accelerator,
    kernel_text,
    package_version,
)

_HIDDEN = ("", "-1", "NoDevFiles", "none", "void")  # what containers and schedulers set
_VENDORS = {"cuda": "0x10de", "rocm": "0x1002", "tpu": "0x1ae0"}  # of PCI devices
_CLASSES = {"cuda": ("0x0300", "0x0302"), "rocm": ("0x0300", "0x0302", "0x0380"), "tpu": ("0x",)}


class Obstacle(msgspec.Struct, frozen=True):
    """Something without which JAX cannot use a device.

    Attributes:
        found: The thing, and its state.
        remedy: The next step.
    """

    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.found}: {self.remedy}"


Check = Callable[[Accelerator, Mapping[str, str]], Iterator[Obstacle]]


def has_hardware(row: Accelerator) -> bool:
    """Returns whether the machine has such a device, even if this process may not use it."""
    if row is CUDA and (accelerators.DEV / "dxg").exists():  # WSL: the driver is that of Windows
        return True
    if row.count():
        return True
    for vendor in accelerators.SYS.glob("bus/pci/devices/*/vendor"):
        if _line(vendor) == _VENDORS[row.platform]:
            kind = _line(vendor.with_name("class"))
            if any(kind.startswith(prefix) for prefix in _CLASSES[row.platform]):
                return True
    return False


def plugin(row: Accelerator, _environment: Mapping[str, str]) -> Iterator[Obstacle]:
    """Yields an obstacle if no plugin is installed, several are, or one of another version."""
    jaxlib = package_version("jaxlib")
    found = {name: package_version(name) for name in row.packages if package_version(name)}
    if not row.is_installed():
        command = accelerators.install_command(row)
        yield Obstacle(f"JAX's plugin for {row.device}s is not installed", command)
    if len(found) > 1:
        first, *others = found
        yield Obstacle(
            f"{' and '.join(found)} are both installed, and JAX loads one of them",
            f"pip uninstall {' '.join(others)} {' '.join(_runtime(name) for name in others)}, "
            f"or those of {first}",
        )
    for name, version in found.items():
        if row is not TPU and _release(version) != _release(jaxlib):
            yield Obstacle(
                f"{name} is {version}, and jaxlib {jaxlib}, which does not load it",
                f"pip install {name}=={jaxlib} {_runtime(name)}=={jaxlib}",
            )


def _runtime(plugin_name: str) -> str:
    """Returns the package that a GPU's plugin comes with."""
    return plugin_name.replace("-plugin", "-pjrt")


def _release(version: str) -> tuple[str, ...]:
    """Returns the numbers of a version; JAX takes plugins that differ in what follows them."""
    return tuple(re.findall(r"\d+", version)[:3])


def nvidia_driver(row: Accelerator, _environment: Mapping[str, str]) -> Iterator[Obstacle]:
    """Yields an obstacle if the kernel has no NVIDIA driver, or too old a one for the plugin."""
    if row is not CUDA or (accelerators.DEV / "dxg").exists():
        return
    version = accelerators.driver_version()
    if not version:
        yield Obstacle(
            f"the NVIDIA driver is not loaded ({accelerators.NVIDIA} is missing)",
            "install it, or modprobe nvidia; nvidia-smi has to list the GPU",
        )
    elif package_version("jax-cuda13-plugin") and accelerators.is_too_old_for_cuda13(version):
        yield Obstacle(
            f"the NVIDIA driver {version} is too old for CUDA 13, which needs "
            f"{accelerators.OLDEST_CUDA13_DRIVER}",
            "a newer driver, or pip uninstall jax-cuda13-plugin jax-cuda13-pjrt and "
            "pip install 'jaxfs[cuda12]'",
        )


def device_files(row: Accelerator, _environment: Mapping[str, str]) -> Iterator[Obstacle]:
    """Yields an obstacle for each device file that is missing, or that this user cannot open."""
    dev = accelerators.DEV
    if row is CUDA and (dev / "dxg").exists():
        return
    nodes = [node for pattern in row.nodes for node in sorted(dev.glob(pattern))]
    if not nodes:
        yield Obstacle(
            f"no device file {' or '.join(str(dev / pattern) for pattern in row.nodes)}",
            "give a container its devices (docker run --gpus all, --device for others); outside "
            "one the driver makes them",
        )
        return
    for node in [*nodes, *_control_files(row)]:
        if not node.exists():
            yield _missing(node)
        elif not os.access(node, os.R_OK | os.W_OK):
            yield Obstacle(
                f"{node} cannot be opened by the user {os.geteuid()} (mode "
                f"{node.stat().st_mode & 0o777:o}, group {node.stat().st_gid})",
                "join its group, or give it the mode 666",
            )


def _missing(node: Path) -> Obstacle:
    if node.name != "nvidia-uvm":
        return Obstacle(f"{node} is missing", "give the container all the driver's devices")
    return Obstacle(
        f"{node} is missing, and without it CUDA fails (error 999)",
        "as root, at boot: nvidia-modprobe -u -c 0. CUDA runs it by itself, but not in a process "
        "with no_new_privs, as those of engine=per-user and of containers are",
    )


def device_nodes(row: Accelerator) -> list[Path]:
    """Returns all files that a process opens to use an accelerator, as far as they are there."""
    devices = [node for pattern in row.nodes for node in sorted(accelerators.DEV.glob(pattern))]
    return [*devices, *(node for node in _control_files(row) if node.exists())]


def _control_files(row: Accelerator) -> tuple[Path, ...]:
    """Returns the device files that a process needs besides the devices' own."""
    names = {"cuda": ("nvidiactl", "nvidia-uvm"), "rocm": ("kfd",)}.get(row.platform, ())
    return tuple(accelerators.DEV / name for name in names)


def hidden(row: Accelerator, environment: Mapping[str, str]) -> Iterator[Obstacle]:
    """Yields an obstacle for each variable that hides all devices."""
    for name in row.variables:
        value = environment.get(name)
        if value is not None and value.strip() in _HIDDEN:
            yield Obstacle(f"{name} is {value!r}, which hides all {row.device}s", f"unset {name}")


CHECKS: tuple[Check, ...] = (plugin, nvidia_driver, device_files, hidden)


def obstacles(platform: str, environment: Mapping[str, str] = os.environ) -> list[Obstacle]:
    """Returns all that is found to keep JAX from a platform's devices; nothing for a CPU."""
    row = TABLE.get(accelerators.jax_platform(platform))
    if row is None:
        return []
    return [one for check in CHECKS for one in check(row, environment)]


def start_failure(platform: str, error: Exception) -> str:
    """Returns why a process with a platform's devices cannot start.

    Args:
        platform: As the mount option names it.
        error: What JAX raised, which may have no text.
    """
    text = " ".join(str(error).split())
    row = TABLE.get(accelerators.jax_platform(platform))
    if row is None or isinstance(error, ValueError):  # an option or variable with a wrong value
        return text or repr(error)
    found = "; ".join(map(str, obstacles(platform)))
    if not found and text:
        return text
    listing = {"cuda": "nvidia-smi and ", "rocm": "rocm-smi and "}.get(row.platform, "")
    cause = found or f"look at {listing}the daemon's log (mountctl logs)"
    return f"JAX finds no {row.device}: {cause} ({text or repr(error)})"


def _line(path: Path) -> str:
    return kernel_text(path).strip()
