"""Accelerators by JAX's platform: their plugins, device files and environment variables.

JAX names a platform (``cuda``), and finds its plugin among the installed packages.  Only names and
files are looked at here: the front never imports jax.
"""

from __future__ import annotations

import functools
import os
import pkgutil
import re
import sys
from importlib import metadata
from pathlib import Path

import msgspec

DEV = Path("/dev")
SYS = Path("/sys")
NVIDIA = Path("/proc/driver/nvidia")
OLDEST_CUDA13_DRIVER = 580
NAMES = ("cpu", "gpu", "cuda", "rocm", "tpu")  # of platforms, as the mount option takes them
PLUGINS_GROUP = "jax_plugins"  # both a namespace package and a group of entry points


class Accelerator(msgspec.Struct, frozen=True):
    """A platform of JAX that is no CPU.

    Attributes:
        platform: JAX's name.
        device: The name for one of its devices, in messages.
        plugin: A part of the names of its plugins.
        packages: The packages with a plugin, one of which is to be installed.
        extra: The extra of jaxfs that installs one.
        nodes: Patterns under /dev, of one file for each device.
        variables: The environment variables that pick devices, the one that jaxfs sets first.
        name: The pattern of a device's name; devices have numbers besides.
        is_exclusive: Whether one process holds all devices.
    """

    platform: str
    device: str
    plugin: str
    packages: tuple[str, ...]
    extra: str
    nodes: tuple[str, ...]
    variables: tuple[str, ...]
    name: str = r"(?!)"
    is_exclusive: bool = False

    @property
    def jax_variable(self) -> str:
        """JAX's own variable, which picks among what the driver's variables leave."""
        return f"JAX_{self.platform.upper()}_VISIBLE_DEVICES"

    def count(self) -> int:
        """Returns how many devices the machine shows to this process; 0 where that is unknown."""
        if self.platform == "rocm":  # /dev/dri has the devices of other vendors too
            return sum(map(_is_gpu, SYS.glob("class/kfd/kfd/topology/nodes/*/gpu_id")))
        return max(sum(1 for _ in DEV.glob(pattern)) for pattern in self.nodes)

    def is_installed(self) -> bool:
        """Returns whether JAX will find a plugin."""
        return any(self.plugin in name for name in plugin_names())


CUDA = Accelerator(
    "cuda",
    "NVIDIA GPU",
    "cuda",
    ("jax-cuda13-plugin", "jax-cuda12-plugin"),
    "cuda13",
    ("nvidia[0-9]*",),
    ("CUDA_VISIBLE_DEVICES",),
    r"(GPU|MIG)-[0-9A-Za-z/-]+",
)
ROCM = Accelerator(
    "rocm",
    "AMD GPU",
    "rocm",
    ("jax-rocm7-plugin",),
    "rocm7-local",
    ("dri/renderD*",),
    ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"),
    r"GPU-[0-9A-Za-z]+",
)
TPU = Accelerator(
    "tpu",
    "TPU",
    "tpu",
    ("libtpu",),
    "tpu",
    ("accel[0-9]*", "vfio/[0-9]*"),
    ("TPU_VISIBLE_CHIPS", "TPU_VISIBLE_DEVICES"),
    is_exclusive=True,
)
TABLE = {row.platform: row for row in (CUDA, ROCM, TPU)}


def plugin_names() -> frozenset[str]:
    """Returns the names of the plugins that JAX will find, in small letters."""
    names = set(packaged_plugins(tuple(sys.path)))
    names |= set(re.findall(r"([\w.-]+):", os.environ.get("PJRT_NAMES_AND_LIBRARY_PATHS", "")))
    if os.environ.get("TPU_LIBRARY_PATH") or package_version("libtpu"):
        names.add("tpu")  # JAX looks for this one itself
    return frozenset(name.lower() for name in names)


@functools.lru_cache(maxsize=8)
def packaged_plugins(path: tuple[str, ...]) -> frozenset[str]:
    """Returns the names of the plugins that packages bring; looking takes up to 70 ms."""
    names = {entry.name for entry in metadata.entry_points(group=PLUGINS_GROUP)}
    places = [str(Path(place, PLUGINS_GROUP)) for place in path]
    return frozenset(names.union(module.name for module in pkgutil.iter_modules(places)))


def package_version(name: str) -> str:
    """Returns the version of an installed package, empty if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def jax_platform(platform: str) -> str:
    """Returns JAX's name of a platform as the option has it.

    JAX takes ``gpu`` for all vendors' GPUs at once, and fails unless all their plugins are there.
    """
    if platform != "gpu":
        return platform
    return "rocm" if ROCM.is_installed() and not CUDA.is_installed() else "cuda"


def candidates(platform: str) -> tuple[Accelerator, ...]:
    """Returns the accelerators that JAX may use for a platform; all installed ones for none."""
    if platform:
        found = TABLE.get(jax_platform(platform))
        return (found,) if found is not None else ()
    return tuple(row for row in TABLE.values() if row.is_installed())


def install_command(row: Accelerator) -> str:
    """Returns the command that installs a plugin which fits, and does not mix CUDA's versions."""
    if row is ROCM:
        return "pip install 'jax[rocm7-local]'"
    installed = [name for name in row.packages if package_version(name)]
    is_older = installed == ["jax-cuda12-plugin"] or is_too_old_for_cuda13(driver_version())
    return f"pip install 'jaxfs[{'cuda12' if row is CUDA and is_older else row.extra}]'"


def driver_version() -> str:
    """Returns the version of the NVIDIA driver that is loaded, empty for none."""
    found = re.search(r"\b(\d+(?:\.\d+)+)\b", kernel_text(NVIDIA / "version"))
    return found[1] if found else ""


def is_too_old_for_cuda13(driver: str) -> bool:
    """Returns whether a driver's version is known, and too old.

    >>> is_too_old_for_cuda13("550.54.14"), is_too_old_for_cuda13("580.65.06")
    (True, False)
    """
    return driver != "" and int(driver.split(".", maxsplit=1)[0]) < OLDEST_CUDA13_DRIVER


def kernel_text(path: Path) -> str:
    """Returns the text of a file of the kernel, empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _is_gpu(gpu_id: Path) -> bool:
    """Returns whether a node of the KFD's topology is a GPU: CPUs have the id 0."""
    try:
        return int(gpu_id.read_text()) != 0
    except (OSError, ValueError):
        return False
