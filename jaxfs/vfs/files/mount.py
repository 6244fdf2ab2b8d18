"""The files of the mount itself."""

from __future__ import annotations

from typing import Never

import jaxfs
from jaxfs.calls.call import now_usec
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import DirectorySpec, FileSpec, NodeSpec
from jaxfs.vfs.text import flat_keyed, lines

INTERFACE = 1  # raised when a file changes its meaning, and not when one is added


def _version(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    software = f"jaxfs {jaxfs.__version__} {mount.engines.toolchain}"
    return lines([software, f"interface {INTERFACE}"])


def _health(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    engines = mount.engines.all()
    pools = {engine.pool for engine in engines}
    states = (*(engine.state for engine in engines), mount.compiler.state)
    degraded = any(state not in ("ready", "idle") for state in states)
    failures = [one.failure for one in engines if one.failure]
    return flat_keyed(
        [
            ("state", "degraded" if degraded else "ok"),
            ("engine", engines[0].state),
            *(("engine_failure", failure) for failure in failures[:1]),
            ("engine_pid", engines[0].pid),
            ("engines", sum(engine.pid != 0 for engine in engines)),
            ("engine_restarts", sum(engine.restarts for engine in engines)),
            ("separated_users", mount.calls.admission.separated),
            ("tracer", mount.compiler.state),
            ("tracer_restarts", mount.compiler.restarts),
            ("sandbox", ",".join(mount.compiler.sandbox)),
            ("pickle", mount.options.pickle),
            ("devices", len(mount.devices)),
            ("programs", len(mount.programs)),
            ("damaged_records", mount.programs.damaged_records + mount.calls.arrays.damaged),
            ("queued_calls", mount.calls.admission.waiting),
            ("result_bytes", mount.calls.admission.quotas.result_bytes),
            ("result_limit_bytes", mount.calls.admission.quotas.limit_bytes),
            ("shared_memory_used_bytes", sum(pool.used_bytes for pool in pools)),
            ("shared_memory_free_bytes", sum(pool.free_bytes for pool in pools)),
            ("internal_errors", mount.internal_errors),
            ("uptime_usec", now_usec() - mount.started_usec),
        ]
    )


def _quota(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    rows = mount.quotas.rows(caller.uid)
    return flat_keyed(
        (one.name, f"{used} {limit if limit is not None else 'max'}") for one, used, limit in rows
    )


def _error_log(mount: Mount, root: Mount, caller: Credentials) -> bytes:
    return mount.errors.text(caller.uid)


ROOT = DirectorySpec[Mount, Never]("", 0o755, "the mount")

SPECS: tuple[NodeSpec, ...] = (
    ROOT,
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
    FileSpec(
        "quota",
        0o444,
        "flat keyed",
        "what you use of what one user may have: name, use, limit",
        read=_quota,
    ),
)
