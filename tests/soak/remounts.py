"""The daemon is killed and mounted again, as often as a bad night has it.

In every other cycle its watcher is killed before it, so that the stale mount is still there.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from tests.soak.figure import Figure
from tests.soak.mount import Mount

CYCLES = 100
ANSWER = "3.0"  # 2 * 1 + 1


def remounts(mount: Mount) -> list[Figure]:
    """Each cycle: SIGKILL, mount again, call the program that was there before."""
    failed, wrong, took_s = 0, 0, []
    for number in range(CYCLES):
        _kill(mount, with_watcher=bool(number % 2))
        began = time.monotonic()
        try:
            mount.start_again()
        except subprocess.SubprocessError:
            failed += 1
            mount.start_again()
        took_s.append(time.monotonic() - began)
        wrong += not _answers(mount, number)
    name = f"daemon killed and mounted again {CYCLES} times"
    return [
        Figure(f"{name}: mounts that failed", failed, 0, "mounts"),
        Figure(f"{name}: wrong answers of the program that was there", wrong, 0, "calls"),
        Figure(f"{name}: longest mount", max(took_s), 5, "s"),
    ]


def _kill(mount: Mount, *, with_watcher: bool) -> None:
    """SIGKILL; the next mount begins while the engine and the tracer still end."""
    front = mount.front.pid
    if with_watcher:
        children = Path(f"/proc/{front}/task/{front}/children").read_text().split()
        watchers = [n for n in children if b"jaxfs-watcher" in _command(n)]
        for number in watchers:
            os.kill(int(number), signal.SIGKILL)
    os.kill(front, signal.SIGKILL)


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _answers(mount: Mount, number: int) -> bool:
    (mount.program / f"calls/{number}").write_text(f"{[1] * 16}")
    return (mount.path / f"results/{number}.txt").read_text().split() == [ANSWER] * 16
