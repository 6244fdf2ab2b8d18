"""Someone who takes the mount away when the daemon is killed.

A shell waits for the end of a pipe whose other end only the daemon has, and which therefore closes
with it, whatever ended it; then it becomes the ``watcher``.  A shell, because it waits for as long
as the mount lives and takes a tenth of a Python's memory.
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
    """From the daemon's first thread.  Without a shell the mount goes on, unwatched."""
    reader, writer = os.pipe()  # closed by exec: no other process inherits our end
    process = None
    try:
        process = _start(mountpoint, reader)
    except OSError as error:
        log.warning("nobody unmounts %s should this daemon be killed: %s", mountpoint, error)
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
    """In a session of its own, out of the reach of a terminal's Ctrl-C."""
    then = [sys.executable, "-I", "-S", str(SCRIPT), mountpoint]
    return subprocess.Popen(
        ["/bin/sh", "-c", WAIT, "jaxfs-watcher", *then], stdin=reader, start_new_session=True
    )
