"""``devices/<platform>:<id>/``: what JAX knows of a device, one property in each file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Never

from jaxfs.engine.protocol import Device
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import DeviceNode, Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.text import flat_keyed, line, lines

DEVICE = DirectorySpec[DeviceNode, Never](
    "devices/<device>", 0o755, "one device, named <platform>:<id>"
)


def _list(mount: Mount, root: Mount) -> Iterable[DirEntry[DeviceNode]]:
    return [DEVICE.entry(name, node) for name, node in mount.devices.items()]


def _memory(mount: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    named = {array.ref.producer: None for array in mount.calls.arrays if array.ref is not None}
    host = {
        "host_arrays_bytes": sum(param.aval.nbytes for one in named for param in one.params),
        "host_total_bytes": mount.calls.admission.quotas.result_bytes,
    }
    return flat_keyed(sorted({**node.memory, **host}.items()))


async def _update_memory(node: DeviceNode) -> None:
    await node.update_memory()


def _queue(mount: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    unfinished = sum(
        call.state == "running"
        and call.compiled is not None
        and node.device.name in call.compiled.devices
        for call in mount.calls
    )
    return flat_keyed([("unfinished_calls", unfinished)])


def _health(mount: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    engine = mount.engines.all()[0]
    if engine.state == "ready":
        return line("ok")
    fault = f": {engine.device_fault}" if engine.device_fault else ""
    return line(f"{engine.state}{fault}")


def _file(
    name: str,
    format_: str,
    help_text: str,
    read: Callable[[Mount, DeviceNode, Credentials], bytes],
    prepare: Callable[[DeviceNode], Awaitable[None]] | None = None,
) -> FileSpec[DeviceNode]:
    pattern = f"{DEVICE.pattern}/{name}"
    return FileSpec(pattern, 0o444, format_, help_text, read=read, prepare=prepare)


def _value(name: str, help_text: str, get: Callable[[Device], object]) -> FileSpec[DeviceNode]:
    """Returns the file of one property."""
    return _file(
        name, "single value", help_text, lambda mount, node, caller: line(get(node.device))
    )


SPECS: tuple[NodeSpec, ...] = (
    DirectorySpec[Mount, DeviceNode]("devices", 0o755, "the accelerators", entries=_list),
    DEVICE,
    _value("platform", "cpu, cuda, tpu ...", lambda device: device.platform),
    _value("kind", "the model", lambda device: device.kind),
    _value("id", "JAX's number for it", lambda device: device.id),
    _value("process_index", "the process that it belongs to", lambda device: device.process_index),
    _value(
        "local_hardware_id",
        "the number the driver gives it, where there is one",
        lambda device: "" if device.local_hardware_id is None else device.local_hardware_id,
    ),
    _file(
        "memory_kinds",
        "newline-separated",
        "memories it can address",
        lambda mount, node, caller: lines(node.device.memory_kinds),
    ),
    _value("default_memory", "where arrays go", lambda device: device.default_memory),
    _file(
        "attributes",
        "flat keyed",
        "what else the platform reports",
        lambda mount, node, caller: flat_keyed(sorted(node.device.attributes.items())),
    ),
    _file(
        "memory",
        "flat keyed",
        "bytes in use and limits, where the platform reports them; of arrays and results in the "
        "host's memory; of named arrays that stay on the device (resident_)",
        _memory,
        _update_memory,
    ),
    _file("queue", "flat keyed", "calls that have not ended", _queue),
    _file("health", "single value", "ok, or the state of the engine and its reason", _health),
)
