"""The devices of this process: starts JAX on them, and describes them.

Only the worker imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from jaxfs.engine.protocol import Device, EngineOptions
from jaxfs.engine.worker import compile_cache, driver_memory
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.jaxcompat import executables, mlir
from jaxfs.types.xla_errors import meaning_of

_FIELDS = frozenset(
    {"platform", "id", "device_kind", "process_index", "local_hardware_id", "default_memory"}
)
_PLAIN = (str, int, float, bool, tuple, list)
# What plugins report by __getattr__, which dir() does not list: PJRT's device attributes.
_REPORTED = (
    "compute_capability",
    "coords",
    "core_count",
    "core_on_chip",
    "device_vendor",
    "fabric_uuid",
    "num_cores",
    "numa_node",
    "partition_index",
    "shared_memory_per_block_optin",
    "slice_index",
    "uuid",
)


def start(options: EngineOptions) -> list[jax.Device]:
    """Starts JAX's backend and returns its devices, no more than are asked for.

    Raises:
        ValueError: There are fewer.
        RuntimeError: JAX cannot start, or has no such platform.
    """
    config: Any = jax.config  # its methods are not annotated
    if options.devices:
        config.update("jax_num_cpu_devices", options.devices)
    found = jax.local_devices()
    if options.cache_dir and found[0].platform != "cpu":  # for a CPU jobs compile everything
        compile_cache.use(options.cache_dir, options.user)
    if options.devices > len(found):
        raise ValueError(f"{options.devices} devices are asked for, and there are {len(found)}")
    return list(found[: options.devices or None])


def toolchain() -> str:
    """Returns the versions a compiled executable depends on."""
    return mlir.toolchain()


def make_cache(options: EngineOptions, devices: list[jax.Device]) -> DeviceCache[jax.Array] | None:
    """Returns the cache of named arrays, or None if there is no need for one.

    A CPU computes in shared memory itself and needs none; elsewhere it may take half of each
    device's memory by default.
    """
    limit_bytes = options.device_cache_bytes
    if limit_bytes < 0:
        limit_bytes = min(map(bytes_limit, devices)) // 2
    return DeviceCache(limit_bytes) if limit_bytes else None


def warm_up() -> None:
    """Imports what JAX and we import at the first use of something.

    It runs before the worker switches to its user, which may not be able to read our packages.
    """
    executables.initialize_custom_calls()
    jax.jit(lambda x: x + 1)(0.0).block_until_ready()


def describe(device: jax.Device) -> Device:
    """Returns what JAX reports about a device."""
    return Device(
        platform=device.platform,
        id=device.id,
        kind=device.device_kind,
        process_index=device.process_index,
        local_hardware_id=device.local_hardware_id,
        memory_kinds=tuple(memory.kind for memory in device.addressable_memories()),
        default_memory=device.default_memory().kind,
        attributes=_attributes(device),
        bytes_limit=bytes_limit(device),
    )


def has_own_memory(device: jax.Device) -> bool:
    """Returns whether a device has memory and a context that all runs share: all but CPUs."""
    return str(device.platform) != "cpu"


def bytes_limit(device: jax.Device) -> int:
    """Returns how much of its own memory arrays may take; 0 for a CPU, or if that is not known.

    XLA's usual allocator has a limit; the others leave it to the driver.
    """
    if not has_own_memory(device):
        return 0
    limit = _memory_stats(device).get("bytes_limit", 0)
    return limit or driver_memory.limit_bytes(
        device.client.platform_version, device.local_hardware_id or 0
    )


def free_bytes(device: jax.Device) -> int | None:
    """Returns how much memory of a device is free; None if the platform does not report it."""
    stats = _memory_stats(device)
    if "bytes_limit" not in stats or "bytes_in_use" not in stats:
        return None
    return stats["bytes_limit"] - stats["bytes_in_use"]


def _memory_stats(device: jax.Device) -> dict[str, int]:
    """Returns the figures of the device's allocator, empty if it has none.

    Raises:
        JaxRuntimeError: The device has failed.
    """
    try:
        return dict(device.memory_stats() or {})
    except jax.errors.JaxRuntimeError as error:  # UNIMPLEMENTED, on some platforms
        if meaning_of(str(error)).ends_worker:
            raise
        return {}


def _attributes(device: jax.Device) -> dict[str, str]:
    """Returns every plain public attribute that is no field of ``Device``."""
    listed = {name for name in dir(device) if not name.startswith("_") and name not in _FIELDS}
    found = {name: _attribute(device, name) for name in listed.union(_REPORTED)}
    found["platform_version"] = _attribute(device.client, "platform_version")
    return {
        name: " ".join(str(value).split())
        for name, value in found.items()
        if isinstance(value, _PLAIN)
    }


def _attribute(subject: object, name: str) -> object:
    """Returns an attribute of a device or its client, or None if the plugin does not have it.

    A plugin may raise any error for one that it knows and cannot get.
    """
    try:
        return getattr(subject, name)
    except Exception:
        return None


def memory_statistics(devices: Sequence[jax.Device]) -> dict[int, dict[str, int]]:
    """Returns memory figures by device id, under JAX's names; empty if the platform has none.

    Raises:
        JaxRuntimeError: A device has failed.
    """
    return {device.id: _memory_stats(device) for device in devices}
