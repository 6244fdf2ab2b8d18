"""The engine and the daemon are killed again and again.

Clients of a killed engine lose no call.  A killed daemon is mounted again, and its programs are
still there; in every other cycle its watcher is killed first, so that the stale mount remains.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

from tests.soak.clients import Client
from tests.soak.mount import Mount
from tests.soak.report import Figure

CLIENTS = 8
KILLS = 10
EVERY_S = 6.0


def engine_deaths(mount: Mount) -> list[Figure]:
    """Ten in a minute."""
    clients = [Client(mount.path, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    killed_s = [_kill_engine(mount) for _ in range(KILLS)]
    for client in clients:
        client.stop()
    for client in clients:
        client.join()
    accounts = [client.account for client in clients]
    lost = [words for account in accounts for words in account.lost]
    for words in sorted(set(lost)):
        print(f"lost {lost.count(words)} calls: {words}")
    ended_s = sorted(moment for account in accounts for moment in account.ended_s)
    took_s = [took for account in accounts for took in account.took_s]
    name = f"engine killed {KILLS} times in {KILLS * EVERY_S:.0f} s, {CLIENTS} clients"
    return [
        Figure(f"{name}: calls lost of {len(took_s) + len(lost)}", len(lost), 0, "calls"),
        Figure(f"{name}: wrong answers", sum(a.wrong for a in accounts), 0, "calls"),
        Figure(f"{name}: longest call", max(took_s), 3, "s"),
        Figure(f"{name}: longest time without an answer", _longest_gap(killed_s, ended_s), 2, "s"),
    ]


def _kill_engine(mount: Mount) -> float:
    """SIGKILL, wherever it is in its work; when that was."""
    time.sleep(EVERY_S / 2)
    moment = time.monotonic()
    os.kill(mount.engine.pid, signal.SIGKILL)
    time.sleep(EVERY_S / 2)
    return moment


def _longest_gap(killed_s: list[float], ended_s: list[float]) -> float:
    """From one answer to the next, where an engine died in between or right before."""
    pairs = itertools.pairwise(ended_s)
    nearby = [
        later - earlier
        for earlier, later in pairs
        if any(earlier <= moment + EVERY_S / 2 and later >= moment for moment in killed_s)
    ]
    return max(nearby)


CYCLES = 100
ANSWER = "3.0"  # 2 * 1 + 1


def remounts(mount: Mount) -> list[Figure]:
    """Each cycle: SIGKILL, mount again, call the program that was there before."""
    failed, wrong, took_s = 0, 0, []
    for number in range(CYCLES):
        _kill_daemon(mount, with_watcher=bool(number % 2))
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


def _kill_daemon(mount: Mount, *, with_watcher: bool) -> None:
    """SIGKILL; the next mount begins while the engine and the tracer still end."""
    front = mount.front.pid
    if with_watcher:
        children = Path(f"/proc/{front}/task/{front}/children").read_text().split()
        watchers = [n for n in children if b"jaxfs-watchdog" in _command(n)]
        for number in watchers:
            os.kill(int(number), signal.SIGKILL)
    os.kill(front, signal.SIGKILL)


def _command(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _answers(mount: Mount, number: int) -> bool:
    (mount.program / f"calls/{number}").write_text(f"{[1] * 16}")
    return (mount.path / f"results/{number}.txt").read_text().split() == [ANSWER] * 16
