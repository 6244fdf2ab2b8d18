"""The engine process: the only one that touches a device.

``python -m jaxfs.engine.worker <descriptor> <options as JSON>``; the front starts it with exec,
because a fork of a process with threads or a live JAX backend is broken.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
import traceback

import msgspec

from jaxfs.engine.protocol import DIAGNOSTICS_BYTES, Options, Ready, Request, StartFailed
from jaxfs.wire.channel import Channel, Closed

PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """An engine without its front would hold device memory for nobody."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _set_environment(options: Options) -> None:
    """What JAX and XLA read when they are imported."""
    if options.platform:
        os.environ["JAX_PLATFORMS"] = options.platform
    os.environ["JAX_ENABLE_X64"] = "1"  # an f64 in a program means f64
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _serve(channel: Channel[Request], options: Options) -> None:
    """Start JAX, report, and handle messages until the front is gone."""
    try:
        from jaxfs.engine import devices, server

        found = devices.start(options)
        platform, toolchain = found[0].platform, devices.toolchain()
        known = tuple(devices.describe(device) for device in found)
    except Exception as error:
        reason = " ".join(str(error).split())[:1000]
        channel.send(StartFailed(reason, traceback.format_exc()[-DIAGNOSTICS_BYTES:]))
        return
    channel.send(Ready(os.getpid(), platform, toolchain, known))
    gc.freeze()  # JAX's own objects stay for good; looking through them takes 50 ms each time
    server.Server(channel, found).serve()


def main(fd: int, options: Options) -> None:
    """Serve on the socket ``fd`` until it closes."""
    faulthandler.enable()
    _die_with_parent()
    os.setpriority(os.PRIO_PROCESS, 0, max(0, os.getpriority(os.PRIO_PROCESS, 0)))
    _set_environment(options)
    os.set_inheritable(fd, False)
    channel: Channel[Request] = Channel(socket.socket(fileno=fd), Request)
    with contextlib.suppress(Closed):
        _serve(channel, options)
    os._exit(0)  # runs under way are nobody's now, and a normal exit would wait for them


if __name__ == "__main__":
    main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Options))
