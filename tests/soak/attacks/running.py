"""Attacks by runs: endless ones, kills, long queues and chains."""

from __future__ import annotations

import os
import signal
import subprocess

import numpy as np

from tests.soak.attacks import sources
from tests.soak.attacks.attacker import Attack, Attacker

ENDLESS_CALLS, PRODUCTS = 36, 2
QUEUED, CHAINED = 20_000, 2_000
THREE = b"3\n"
CLIENTS = 20


def endless_calls(attacker: Attacker) -> None:
    """Each that ends or is refused is replaced by another."""
    program = attacker.program(sources.ENDLESS)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}", THREE)
        if turn >= ENDLESS_CALLS:
            attacker.pause(0.2)


def endless_products(attacker: Attacker) -> None:
    """They hold the threads that XLA shares among all products."""
    program = attacker.program(sources.ENDLESS_PRODUCT)
    matrix = np.full((512, 512), 1e-3, np.float32).tobytes()
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}.raw", matrix)
        if turn >= PRODUCTS:
            attacker.pause(2.0)


def kills(attacker: Attacker) -> None:
    """An endless call is started and its result removed, in a loop."""
    program = attacker.program(sources.ENDLESS)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}", THREE)
        attacker.pause(0.05)
        attacker.remove(f"results/{attacker.tag}{turn}")


def abandoned(attacker: Attacker) -> None:
    """Conversations are closed while their endless run goes on."""
    program = attacker.program(sources.ENDLESS)
    for _ in attacker.turns():
        fd = attacker.open(f"{program}/call", os.O_RDWR | os.O_NONBLOCK)
        if fd is not None:
            attacker.attempt(os.write, fd, THREE)
            attacker.attempt(os.close, fd)


def queue(attacker: Attacker) -> None:
    """Many calls wait for a place in the engine."""
    endless, quick = attacker.program(sources.ENDLESS, "e"), attacker.program(sources.TWICE, "q")
    for number in range(ENDLESS_CALLS):
        attacker.write(f"{endless}/calls/{attacker.tag}e{number}", THREE)
    for turn in attacker.turns():
        attacker.write(f"{quick}/calls/{attacker.tag}{turn % QUEUED}", b"[1, 2, 3, 4]")


def chains(attacker: Attacker) -> None:
    """Each call waits for the one before, and the first does not end until it is removed."""
    endless = attacker.program(sources.ENDLESS)
    for turn in attacker.turns():
        ids = f"{attacker.tag}_{turn}_"
        attacker.write(f"{endless}/calls/{ids}0", THREE)
        for number in range(1, CHAINED):
            if not attacker.is_on:
                break
            word = f"results/{ids}{number - 1}".encode()
            attacker.write(f"{endless}/calls/{ids}{number}", word)
        attacker.remove(f"results/{ids}0")


def clients(attacker: Attacker) -> None:
    """Up to 20 processes at once call and are gone, some of them killed while they wait."""
    quick, endless = attacker.program(sources.TWICE, "q"), attacker.program(sources.ENDLESS, "e")
    running: list[subprocess.Popen[bytes]] = []
    for turn in attacker.turns():
        call = f"echo '[1,2,3,4]' > {quick}/calls/{attacker.tag}{turn}"
        wait = f"echo 3 > {endless}/calls/{attacker.tag}{turn}; cat results/{attacker.tag}{turn}"
        read = f"{call}; cat results/{attacker.tag}{turn}.txt; rm results/{attacker.tag}{turn}"
        command = ["sh", "-c", wait if turn % 8 == 0 else read]
        client = attacker.attempt(
            subprocess.Popen,
            command,
            cwd=attacker.mount,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if client is not None:
            running.append(client)
        if len(running) >= CLIENTS:
            _end(running.pop(0))
    for client in running:
        _end(client)


def _end(client: subprocess.Popen[bytes]) -> None:
    """Waits a little, then kills the client with its children."""
    try:
        client.wait(0.1)
    except subprocess.TimeoutExpired:
        os.killpg(client.pid, signal.SIGKILL)
        client.wait()


ATTACKS = (
    Attack("endless", "C6: 36 endless calls", endless_calls),
    Attack("products", "C6: two endless 512x512 products", endless_products),
    Attack("kills", "C7: an endless call and rm of its result, in a loop", kills),
    Attack("abandoned", "conversations closed while an endless run goes on", abandoned),
    Attack("queue", "20,000 calls behind endless ones", queue),
    Attack("chains", "chains of 2,000 calls whose first one does not end", chains),
    Attack("clients", "20 processes at once that call, and some that are killed", clients),
)
