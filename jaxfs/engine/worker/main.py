"""The worker's process: the only one that uses a device.

``python -m jaxfs.engine.worker.main <descriptor> <options as JSON>``, started by the front, which
has the other end of the descriptor.
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
from jaxfs.engine.worker.slots import SLOTS
from jaxfs.ipc.channel import Channel, Closed
from jaxfs.posix import privileges
from jaxfs.posix.accelerator_obstacles import start_failure
from jaxfs.posix.child_setup import die_with_parent

MEETING_S = 7 * 24 * 3600
MORE_THREADS = 64


def _set_environment(options: EngineOptions) -> None:
    """Sets the variables that JAX and XLA read when they are imported, for any platform.

    Those that choose devices and their memory are set by the front, see ``posix.device_selection``.
    """
    os.environ["JAX_ENABLE_X64"] = "1"  # an f64 in a program means f64
    os.environ.setdefault("PJRT_NPROC", str(threads_of_xla(options.devices)))
    if options.devices > 1:
        _let_devices_meet()


def threads_of_xla(device_count: int) -> int:
    """Returns the size of the pool of threads in which XLA computes large products.

    An endless loop with a product in it keeps one of these threads for ever, and there is one for
    each core by default: a few such loops would stop the products of all users.  So there are more,
    one for each run that may be under way on a device.
    """
    more = SLOTS if device_count <= 1 else device_count + MORE_THREADS
    return len(os.sched_getaffinity(0)) + more


def _let_devices_meet() -> None:
    """Lets the CPU's devices meet in collectives, however long one has to wait for another.

    XLA ends the process if a meeting takes 40 s, and its threads, one for each device, also run the
    programs of one device: an endless one would keep a device away.
    """
    flags = f"--xla_cpu_collective_call_terminate_timeout_seconds={MEETING_S}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def _serve(channel: Channel[Request], options: EngineOptions, parent: int) -> None:
    """Starts JAX, becomes the user, reports, and handles messages until the front is gone."""
    try:
        # only now: the environment is set, and a failure is reported
        from jaxfs.engine.worker import device_server, devices
        from jaxfs.jaxcompat import topologies

        found = devices.start(options)
        target = topologies.target_of(found)  # before the switch to a user: it reads our packages
        if options.user is not None:
            devices.warm_up()  # the user may not be able to read our packages
            privileges.become(options.user, parent)
        known = tuple(devices.describe(device) for device in found)
        cache = devices.make_cache(options, found)
        ready = Ready(
            os.getpid(),
            known[0].platform,
            devices.toolchain(),
            known,
            cache is not None,
            target,
        )
    except Exception as error:
        reason = start_failure(options.platform, error)[:1000]
        channel.send(StartFailed(reason, traceback.format_exc()[-DIAGNOSTICS_BYTES:]))
        return
    channel.send(ready)
    gc.freeze()  # JAX's own objects stay; looking through them takes 50 ms each time
    device_server.make_server(channel, found, cache).serve()


def main(fd: int, options: EngineOptions) -> None:
    """Serves on the socket ``fd`` until it closes, and ends the process."""
    faulthandler.enable()
    parent = os.getppid()
    die_with_parent(parent)  # an engine without its front would hold device memory for no user
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    _set_environment(options)
    os.set_inheritable(fd, False)
    channel: Channel[Request] = Channel(socket.socket(fileno=fd), Request)
    with contextlib.suppress(Closed):
        _serve(channel, options, parent)
    os._exit(0)  # a normal exit would wait for runs under way, and there is no front to use them


def arguments(argv: list[str]) -> tuple[int, EngineOptions]:
    """Returns the arguments of ``main`` from the command line.

    >>> arguments(["main.py", "7", '{"platform": "cpu"}'])[1].platform
    'cpu'
    """
    return int(argv[1]), msgspec.json.decode(argv[2], type=EngineOptions)


if __name__ == "__main__":
    main(*arguments(sys.argv))
