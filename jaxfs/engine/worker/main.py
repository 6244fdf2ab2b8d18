"""The engine process: the only one that touches a device.

``python -m jaxfs.engine.worker.main <descriptor> <options as JSON>``; the front starts it with
exec, because a fork of a process with threads or a live JAX backend is broken.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import socket
import sys
import traceback

import msgspec

from jaxfs.engine.protocol import DIAGNOSTICS_BYTES, EngineOptions, Ready, Request, StartFailed
from jaxfs.engine.worker.device_cache import DeviceCache
from jaxfs.ipc.channel import Channel, Closed
from jaxfs.posix import privileges
from jaxfs.posix.child_process import die_with_parent

MEETING_S = 7 * 24 * 3600
MORE_THREADS = 64


def _set_environment(options: EngineOptions) -> None:
    """What JAX and XLA read when they are imported."""
    if options.platform:
        os.environ["JAX_PLATFORMS"] = options.platform
    os.environ["JAX_ENABLE_X64"] = "1"  # an f64 in a program means f64
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if options.devices > 1:
        _let_devices_meet(options.devices)


def _let_devices_meet(device_count: int) -> None:
    """Let the CPU's devices meet in collectives, however long one has to wait for another.

    XLA ends the process where a meeting takes 40 s, and its threads, one a device, are also those
    of programs of one device: an endless one would keep a device away.
    """
    os.environ.setdefault("PJRT_NPROC", str(device_count + MORE_THREADS))
    flags = f"--xla_cpu_collective_call_terminate_timeout_seconds={MEETING_S}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def _serve(channel: Channel[Request], options: EngineOptions, parent: int) -> None:
    """Start JAX, become the user, report, and handle messages until the front is gone."""
    try:
        from jaxfs.engine.worker import devices, server

        found = devices.start(options)
        if options.user is not None:
            devices.warm_up()  # it may not be able to read our packages any more
            privileges.become(options.user, parent)
        platform, toolchain = found[0].platform, devices.toolchain()
        known = tuple(devices.describe(device) for device in found)
        resident_bytes = devices.device_cache_bytes(options, found)
        residents = DeviceCache(resident_bytes) if resident_bytes else None
    except Exception as error:
        reason = " ".join(str(error).split())[:1000]
        channel.send(StartFailed(reason, traceback.format_exc()[-DIAGNOSTICS_BYTES:]))
        return
    channel.send(Ready(os.getpid(), platform, toolchain, known, residents is not None))
    gc.freeze()  # JAX's own objects stay for good; looking through them takes 50 ms each time
    server.Server(channel, found, residents).serve()


def main(fd: int, options: EngineOptions) -> None:
    """Serve on the socket ``fd`` until it closes."""
    faulthandler.enable()
    parent = os.getppid()
    die_with_parent(parent)  # an engine without its front would hold device memory for nobody
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    _set_environment(options)
    os.set_inheritable(fd, False)
    channel: Channel[Request] = Channel(socket.socket(fileno=fd), Request)
    with contextlib.suppress(Closed):
        _serve(channel, options, parent)
    os._exit(0)  # runs under way are nobody's now, and a normal exit would wait for them


def arguments(words: list[str]) -> tuple[int, EngineOptions]:
    """What ``main`` takes, from the command line."""
    return int(words[1]), msgspec.json.decode(words[2], type=EngineOptions)


if __name__ == "__main__":
    main(*arguments(sys.argv))
