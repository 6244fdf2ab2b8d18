"""``devices/<platform>:<id>/``: all that JAX tells of a device, a file a fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jaxfs.engine.protocol import Device
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import DeviceNode, Mount
from jaxfs.vfs.node_specs import DirectorySpec, DirEntry, FileSpec, NodeSpec
from jaxfs.vfs.text import flat_keyed, line, lines

HERE = "devices/<device>"


def _list(system: Mount, subject: Mount) -> Iterable[DirEntry]:
    return [DirEntry(name, HERE, node) for name, node in system.devices.items()]


def _fact(get: Callable[[Device], object]) -> Callable[[Mount, DeviceNode, Credentials], bytes]:
    return lambda system, node, caller: line(get(node.device))


def _memory_kinds(system: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    return lines(node.device.memory_kinds)


def _attributes(system: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    return flat_keyed(sorted(node.device.attributes.items()))


def _memory(system: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    named = {array.ref.producer: None for array in system.calls.arrays if array.ref is not None}
    host = {
        "host_arrays_bytes": sum(param.aval.nbytes for one in named for param in one.params),
        "host_total_bytes": system.calls.quotas.result_bytes,
    }
    return flat_keyed(sorted({**node.memory, **host}.items()))


async def _look(node: DeviceNode) -> None:
    await node.look()


def _running(system: Mount, node: DeviceNode) -> int:
    return sum(
        call.state == "running"
        and call.compiled is not None
        and node.device.name in call.compiled.devices
        for call in system.calls
    )


def _queue(system: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    return flat_keyed([("unfinished_calls", _running(system, node))])


def _health(system: Mount, node: DeviceNode, caller: Credentials) -> bytes:
    return line("ok" if system.engines.all()[0].state == "ready" else system.engines.all()[0].state)


def _file(name: str, form: str, text: str, read: object) -> FileSpec:
    return FileSpec(f"{HERE}/{name}", 0o444, form, text, read=read)  # type: ignore[arg-type]  # a row's function


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec("devices", 0o755, "the accelerators", entries=_list),
    DirectorySpec(HERE, 0o755, "one device, named <platform>:<id>"),
    _file("platform", "single value", "cpu, cuda, tpu ...", _fact(lambda d: d.platform)),
    _file("kind", "single value", "the model", _fact(lambda d: d.kind)),
    _file("id", "single value", "JAX's number for it", _fact(lambda d: d.id)),
    _file("process_index", "single value", "whose it is", _fact(lambda d: d.process_index)),
    _file(
        "local_hardware_id",
        "single value",
        "the number the driver gives it, where there is one",
        _fact(lambda d: "" if d.local_hardware_id is None else d.local_hardware_id),
    ),
    _file("memory_kinds", "newline-separated", "memories it can address", _memory_kinds),
    _file("default_memory", "single value", "where arrays go", _fact(lambda d: d.default_memory)),
    _file("attributes", "flat keyed", "what else the platform tells", _attributes),
    FileSpec(
        f"{HERE}/memory",
        0o444,
        "flat keyed",
        "bytes in use and limits, where the platform tells; of arrays and results in the host's "
        "memory; of named arrays that stay on the device (resident_)",
        read=_memory,
        prepare=_look,
    ),
    _file("queue", "flat keyed", "calls that have not ended", _queue),
    _file("health", "single value", "ok, or what is wrong", _health),
)
