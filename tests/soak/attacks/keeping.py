"""Attacks by what stays: files, results, arrays, replies, descriptors, names."""

from __future__ import annotations

import io
import itertools
import os
import resource
import signal
from collections.abc import Iterator

import numpy as np

from tests.soak.attacks import sources
from tests.soak.attacks.attacker import WRITE, Attack, Attacker

MANY = 10_000
ARRAY_NUMBERS = 5_000  # f32: 20 kB
REPLY_NUMBERS = 4_000  # f32: 16 kB
REPLIES_EACH = 50
REFUSED_BYTES = 1 << 20
LONG = 100  # letters; a name may have 128
STOPPED = 20


def refused_sources(attacker: Attacker) -> None:
    """Each is another megabyte that is no program."""
    junk = b"// not a program\n" * (REFUSED_BYTES // 17)
    for turn in attacker.turns():
        attacker.write(f"programs/{attacker.tag}_{turn}.mlir", b"// %d\n" % turn + junk)


def staging(attacker: Attacker) -> None:
    """They are never renamed."""
    for turn in attacker.turns():
        attacker.write(f"programs/.{attacker.tag}_{turn}", bytes(REFUSED_BYTES))


def unread_replies(attacker: Attacker) -> None:
    """Each descriptor asks again and again, and reads nothing."""
    program = attacker.program(sources.broadcast(REPLY_NUMBERS))
    asked = np.float32(1.5).tobytes()
    held = _descriptors(attacker, itertools.repeat(f"{program}/call.raw"), os.O_RDWR)
    for fd in held:
        for _ in range(REPLIES_EACH):
            if attacker.attempt(os.write, fd, asked) is None:
                break


def half_requests(attacker: Attacker) -> None:
    """Each descriptor has a request of a megabyte, whose end does not come."""
    program = attacker.program(sources.TWICE)
    half = b"[1, 2, 3, " + b" " * REFUSED_BYTES
    for fd in _descriptors(attacker, itertools.repeat(f"{program}/call"), os.O_RDWR):
        attacker.attempt(os.write, fd, half)


def _descriptors(attacker: Attacker, paths: Iterator[str], flags: int) -> Iterator[int]:
    """Opens files and keeps them, as many as the attacker may; then it waits for the end."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for _ in attacker.turns():
        fd = attacker.open(next(paths), flags)
        if fd is None:
            attacker.pause(0.01)
        else:
            yield fd


def results(attacker: Attacker) -> None:
    """Ten thousand small results are kept, and listed."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}_{turn % MANY}", b"[1, 2, 3, 4]")
        if turn % 1000 == 999:
            attacker.attempt(os.listdir, attacker.mount / "results")


def arrays(attacker: Attacker) -> None:
    """Ten thousand arrays of 20 kB are kept, and listed."""
    file = io.BytesIO()
    np.save(file, np.ones(ARRAY_NUMBERS, np.float32))
    for turn in attacker.turns():
        attacker.write(f"arrays/{attacker.tag}_{turn % MANY}", file.getvalue())
        if turn % 1000 == 999:
            attacker.attempt(os.listdir, attacker.mount / "arrays")


def handles(attacker: Attacker) -> None:
    """Files of all kinds are opened and never closed."""
    program = attacker.program(sources.TWICE)
    attacker.write(f"{program}/calls/{attacker.tag}", b"[1, 2, 3, 4]")
    attacker.write(f"arrays/{attacker.tag}", b"1 2 3")
    paths = (
        "version",
        "trace",
        "metrics",
        f"{program}/status",
        f"{program}/call",
        f"{program}/hlo.txt",
        f"results/{attacker.tag}.txt",
        f"arrays/{attacker.tag}",
    )
    for _ in _descriptors(attacker, itertools.cycle(paths), os.O_RDONLY):
        pass


def uploads(attacker: Attacker) -> None:
    """Calls, arrays and sources are begun, 64 kB each, and never closed."""
    program = attacker.program(sources.TWICE)
    names = (f"{attacker.tag}_{number}" for number in itertools.count())
    paths = (
        path
        for name in names
        for path in (f"{program}/calls/{name}", f"arrays/{name}", f"programs/{name}.mlir")
    )
    for fd in _descriptors(attacker, paths, WRITE):
        attacker.attempt(os.write, fd, bytes(1 << 16))


def names(attacker: Attacker) -> None:
    """Names as long as they may be are made, found, and not found."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        name = f"{attacker.tag}_{turn}_".ljust(LONG, "n")
        attacker.attempt(os.stat, attacker.mount / f"programs/{name}.mlir")
        attacker.write(f"arrays/{name}", b"1")
        attacker.attempt(os.stat, attacker.mount / f"arrays/{name}.0.txt")
        attacker.attempt(os.stat, attacker.mount / f"{program}/calls/{name}")
        attacker.attempt(os.stat, attacker.mount / f"results/{'n' * 255}")


def links(attacker: Attacker) -> None:
    """Links in programs/: absolute ones, chains, circles, and inputs that lead nowhere."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        name = f"{attacker.tag}_{turn}"
        targets = (
            "/etc/passwd",
            f"{attacker.mount}/programs/{attacker.tag}",
            f"{attacker.tag}_{turn - 1}",
            name,
            "x" * 4000,
        )
        link = attacker.mount / f"programs/{name}"
        attacker.attempt(os.symlink, targets[turn % len(targets)], link)
        attacker.attempt(os.stat, link)
        attacker.read(f"programs/{name}/status")
        key = attacker.mount / f"{program}/inputs/0"
        attacker.attempt(os.symlink, targets[turn % len(targets)], key)
        attacker.write(f"{program}/calls/{name}", b"")
        attacker.remove(f"{program}/inputs/0")


def stopped_readers(attacker: Attacker) -> None:
    """Processes are stopped (SIGSTOP) while they have half of a large reply."""
    program = attacker.program(sources.broadcast(1 << 20))
    asked = np.float32(1.5).tobytes()
    stopped = [_stopped(attacker, f"{program}/call.raw", asked) for _ in range(STOPPED)]
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn % STOPPED}.raw", asked)
        attacker.read(f"results/{attacker.tag}{turn % STOPPED}.raw")
        attacker.remove(f"results/{attacker.tag}{turn % STOPPED}")
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _stopped(attacker: Attacker, call: str, asked: bytes) -> int:
    """Starts a process that asks, reads a page of the reply, and stops itself."""
    pid = os.fork()
    if pid == 0:
        fd = attacker.open(call, os.O_RDWR)
        if fd is not None:
            attacker.attempt(os.write, fd, asked)
            attacker.attempt(os.read, fd, 4096)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    return pid


ATTACKS = (
    Attack("refused-sources", "C8: sources of 1 MB that are no programs", refused_sources),
    Attack("staging", "C8: staging files of 1 MB that are never renamed", staging),
    Attack("replies", "C8: unread replies of 16 kB, on many descriptors", unread_replies),
    Attack("half-requests", "requests of 1 MB without an end, on many descriptors", half_requests),
    Attack("results", "C8: 10,000 results", results),
    Attack("arrays", "C8: 10,000 arrays of 20 kB", arrays),
    Attack("handles", "open files of all kinds, as many as one may", handles),
    Attack("uploads", "files of 64 kB that are written and not closed", uploads),
    Attack("names", "long names, made and looked for", names),
    Attack("links", "C10: absolute links, chains and circles of links", links),
    Attack("stopped", "20 stopped processes with half a reply", stopped_readers),
)
