"""The files of the mount itself."""

from __future__ import annotations

import jaxfs
from jaxfs.calls.call import now_usec
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, FileSpec, NodeSpec
from jaxfs.vfs.text import flat_keyed, lines

INTERFACE = 1  # raised when a file changes its meaning, and not when one is added


def _version(system: Mount, subject: Mount, caller: Credentials) -> bytes:
    software = f"jaxfs {jaxfs.__version__} {system.engines.toolchain}"
    return lines([software, f"interface {INTERFACE}"])


def _health(system: Mount, subject: Mount, caller: Credentials) -> bytes:
    engines = system.engines.all()
    parts = (*(engine.state for engine in engines), system.compiler.state)
    degraded = any(part not in ("ready", "idle") for part in parts)
    return flat_keyed(
        [
            ("state", "degraded" if degraded else "ok"),
            ("engine", engines[0].state),
            ("engine_pid", engines[0].pid),
            ("engines", sum(engine.pid != 0 for engine in engines)),
            ("engine_restarts", sum(engine.restarts for engine in engines)),
            ("tracer", system.compiler.state),
            ("tracer_restarts", system.compiler.restarts),
            ("sandbox", ",".join(system.compiler.sandbox)),
            ("pickle", system.options.pickle),
            ("devices", len(system.devices)),
            ("programs", len(system.programs)),
            ("queued_calls", system.calls.waiting),
            ("result_bytes", system.calls.quotas.result_bytes),
            ("result_limit_bytes", system.calls.quotas.limit_bytes),
            ("shared_memory_used_bytes", sum(engine.pool.used_bytes for engine in engines)),
            ("shared_memory_free_bytes", sum(engine.pool.free_bytes for engine in engines)),
            ("internal_errors", system.internal_errors),
            ("uptime_usec", now_usec() - system.started_usec),
        ]
    )


def _error_log(system: Mount, subject: Mount, caller: Credentials) -> bytes:
    return system.errors.text(caller.uid)


ROWS: tuple[NodeSpec, ...] = (
    DirectorySpec("", 0o755, "the mount"),
    FileSpec(
        "version",
        0o444,
        "newline-separated",
        "jaxfs and the JAX it runs on; the number of this interface",
        read=_version,
    ),
    FileSpec("health", 0o444, "flat keyed", "state of the mount and its processes", read=_health),
    FileSpec(
        "error_log",
        0o444,
        "newline-separated",
        "your last errors, newest last: time, path, errno name, reason",
        read=_error_log,
    ),
)
