"""Takes the mount away when the daemon is killed.

A shell waits for the end of a pipe that only the daemon holds the other end of, and which therefore
closes with the daemon, however it ended; then it becomes ``watchdog_main``.  A shell, because it
waits for as long as the mount lives and takes a tenth of a Python's memory.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)
SCRIPT = Path(__file__).with_name("watchdog_main.py")
END_S = 1.0  # it looks once, and ends
WAIT = 'read -r _; exec "$@" </dev/null'


@contextmanager
def watched(mountpoint: str) -> Iterator[None]:
    """Runs the watchdog inside the context; call it from the daemon's first thread.

    If there is no shell, the mount is served without a watchdog.
    """
    reader, writer = os.pipe()  # closed by exec: no other process inherits our end
    process = None
    try:
        process = _start(mountpoint, reader)
    except OSError as error:
        log.warning("%s stays mounted should this daemon be killed: %s", mountpoint, error)
    finally:
        os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_S)


def _start(mountpoint: str, reader: int) -> subprocess.Popen[bytes]:
    """Starts the shell in a session of its own, so that a terminal's Ctrl-C does not reach it."""
    then = [sys.executable, "-I", "-S", str(SCRIPT), mountpoint]
    return subprocess.Popen(
        ["/bin/sh", "-c", WAIT, "jaxfs-watchdog", *then], stdin=reader, start_new_session=True
    )
