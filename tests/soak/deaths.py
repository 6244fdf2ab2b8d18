"""The engine is killed again and again under clients that notice nothing but time."""

from __future__ import annotations

import itertools
import os
import signal
import time

from tests.soak.clients import Client
from tests.soak.figure import Figure
from tests.soak.mount import Mount

CLIENTS = 8
KILLS = 10
EVERY_S = 6.0


def engine_deaths(mount: Mount) -> list[Figure]:
    """Ten in a minute."""
    clients = [Client(mount.path, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    killed_s = [_kill(mount) for _ in range(KILLS)]
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


def _kill(mount: Mount) -> float:
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
