"""Descriptions of devices, to compile for devices that this process does not have.

Private names of jax and jaxlib:

- ``get_topology_for_devices``: XLA's description of the devices of a client, ``target_config``
  among it.  ``jax.experimental.topologies`` takes one and gives none.
- ``_raw_platform``: ``cuda`` or ``rocm``; ``platform`` is ``gpu`` for both.
- ``discover_pjrt_plugins``: put back where `executables.skip_plugin_discovery` replaced it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax._src import xla_bridge
from jax._src.lib import xla_client  # type: ignore[attr-defined]  # without __all__
from jax.experimental import topologies

from jaxfs.types.compile_target import CompileTarget

_PLUGINS = ("-plugin", "-pjrt")  # ends of the packages' names: jax-cuda13-plugin, jax-cuda13-pjrt
_discover: Callable[[], None] = xla_bridge.discover_pjrt_plugins


def target_of(devices: Sequence[jax.Device]) -> CompileTarget:
    """Returns what programs are compiled for on these devices.

    Without a ``config`` where XLA has none, or the devices differ: then only their own process can
    compile for them.
    """
    client: Any = devices[0].client
    platform = str(getattr(client, "_raw_platform", client.platform))
    if platform == "cpu":
        return CompileTarget("cpu")
    kinds = sorted({device.device_kind for device in devices})
    versions = [*kinds, " ".join(client.platform_version.split()), *_plugin_versions(platform)]
    config = _config(devices) if len(kinds) == 1 else ""
    return CompileTarget(platform, config, ", ".join(versions))


def _config(devices: Sequence[jax.Device]) -> str:
    """Returns XLA's description of the devices; empty if the plugin has none."""
    try:
        topology: Any = xla_client.get_topology_for_devices(list(devices))
        return str(topology.target_config)
    except Exception:  # plugins raise different exceptions
        return ""


def _plugin_versions(platform: str) -> list[str]:
    """Returns the packages with a platform's compiler and their versions, in order."""
    found = set[str]()
    for package in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # damaged metadata of any package
            name = package.metadata["Name"].lower()
            if name.startswith(f"jax-{platform}") and name.endswith(_PLUGINS):
                found.add(f"{name} {package.version}")
    return sorted(found)


def devices_of(target: CompileTarget, count: int) -> Sequence[jax.Device]:
    """Returns ``count`` devices of a target, which exist only for the compiler.

    Raises:
        NotImplementedError, RuntimeError: There is no plugin for the platform, or it cannot.
    """
    bridge: Any = xla_bridge
    bridge.discover_pjrt_plugins = _discover
    described: Any = topologies.get_topology_desc(
        "jaxfs", target.platform, target_config=target.config, topology=f"1x1x{count}"
    )
    return list(described.devices)
