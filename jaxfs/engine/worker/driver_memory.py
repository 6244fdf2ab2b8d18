"""How much memory a GPU has, by its driver.

XLA's usual allocator reports a limit.  Those that environment variables choose
(``XLA_PYTHON_CLIENT_ALLOCATOR=platform``, ``cuda_async`` ...) report none, and then nothing would
stay on the device and no run would be refused.  The driver's library is there wherever JAX runs on
the GPU, and needs no context for the answer.
"""

from __future__ import annotations

import ctypes
import os

import attrs

FRACTION_VARIABLES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
DEFAULT_FRACTION = 0.75  # XLA's


@attrs.frozen
class Driver:
    """The library of a platform, and its functions.

    Attributes:
        library: The name by which dlopen(3) finds it.
        init: Takes flags, which are 0.
        get_device: Takes a place for the device, and its ordinal.
        total_bytes: Takes a place for the bytes, and the device.
    """

    library: str
    init: str
    get_device: str
    total_bytes: str


DRIVERS = {
    "cuda": Driver("libcuda.so.1", "cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2"),
    "rocm": Driver("libamdhip64.so", "hipInit", "hipDeviceGet", "hipDeviceTotalMem"),
}


def limit_bytes(platform_version: str, ordinal: int) -> int:
    """Returns how much of a GPU's memory XLA may take; 0 if that cannot be found out.

    Args:
        platform_version: What JAX's client reports, ``PJRT C API cuda 12080``.
        ordinal: The number that the driver gives the device.

    >>> limit_bytes("TPU v9", 0)
    0
    """
    words = platform_version.lower().split()
    driver = next((DRIVERS[word] for word in words if word in DRIVERS), None)
    return int(_total_bytes(driver, ordinal) * memory_fraction()) if driver is not None else 0


def memory_fraction() -> float:
    """Returns which part of a device's memory XLA takes, as the environment has it."""
    for name in FRACTION_VARIABLES:
        try:
            return float(os.environ[name])
        except (KeyError, ValueError):
            continue
    return DEFAULT_FRACTION


def _total_bytes(driver: Driver, ordinal: int) -> int:
    device, total = ctypes.c_int(), ctypes.c_size_t()
    try:
        library = ctypes.CDLL(driver.library)
        steps = (
            (driver.init, (0,)),
            (driver.get_device, (ctypes.byref(device), ordinal)),
            (driver.total_bytes, (ctypes.byref(total), device)),
        )
        if any(getattr(library, name)(*arguments) for name, arguments in steps):
            return 0
    except (OSError, AttributeError):  # no such library, or an older one
        return 0
    return total.value
