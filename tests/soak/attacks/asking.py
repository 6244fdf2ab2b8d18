"""Attacks by many small requests: errors, polls, tiny writes, walks, and text that is made anew."""

from __future__ import annotations

import os
import select
import threading

from tests.soak.attacks import sources
from tests.soak.attacks.attacker import WRITE, Attack, Attacker

POLLED = 500
TINY = 100_000
KEPT = 2_000
THREE = b"3\n"
FOUR = b"[1, 2, 3, 4]\n"


def errors(attacker: Attacker) -> None:
    """Each has another path and reason."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        name = f"{attacker.tag}_{turn}"
        attacker.write(f"{program}/calls/{name}", b"[1, 2]")
        attacker.write(f"programs/{name}.mlir", b"not a program %d" % turn)
        attacker.write(f"arrays/{name}", b"not an array")
        attacker.attempt(os.mkdir, attacker.mount / f"programs/{name}")
        attacker.read("error_log")


def bad_requests(attacker: Attacker) -> None:
    """A conversation in which each request is refused."""
    program = attacker.program(sources.TWICE)
    fd = attacker.open(f"{program}/call", os.O_RDWR)
    for turn in attacker.turns():
        if fd is not None:
            attacker.attempt(os.write, fd, b"[1, %d, oops]\n" % turn)
            attacker.attempt(os.read, fd, 4096)


def tiny_writes(attacker: Attacker) -> None:
    """Files are written byte by byte, backwards too, each byte with fsync(2)."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        paths = (f"{program}/calls/{attacker.tag}{turn}", f"programs/.{attacker.tag}{turn % 4}")
        for path in paths:
            fd = attacker.open(path, WRITE)
            if fd is None:
                continue
            for place in range(TINY):
                if (
                    not attacker.is_on
                    or attacker.attempt(os.pwrite, fd, b"1", TINY - place) is None
                ):
                    break
                if place % 8 == 0:
                    attacker.attempt(os.fsync, fd)
            attacker.attempt(os.close, fd)


def spins(attacker: Attacker) -> None:
    """An unfinished result and an empty conversation are read with O_NONBLOCK, in a loop."""
    program = attacker.program(sources.ENDLESS)
    attacker.write(f"{program}/calls/{attacker.tag}", THREE)
    result = attacker.open(f"results/{attacker.tag}", os.O_RDONLY | os.O_NONBLOCK)
    call = attacker.open(f"{program}/call", os.O_RDWR | os.O_NONBLOCK)
    for _ in attacker.turns():
        for fd in (result, call):
            if fd is not None:
                attacker.attempt(os.read, fd, 4096)
        attacker.attempt(os.stat, attacker.mount / f"results/{attacker.tag}")


def waiters(attacker: Attacker) -> None:
    """500 threads wait for a result that does not come; it is removed, and they wait again."""
    program = attacker.program(sources.ENDLESS)

    def wait() -> None:
        for _ in attacker.turns():
            if attacker.read(f"results/{attacker.tag}") is None:
                attacker.pause(0.1)

    for _ in range(POLLED):
        threading.Thread(target=wait, daemon=True).start()
    for _ in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}", THREE)
        attacker.pause(1.0)
        attacker.remove(f"results/{attacker.tag}")


def polls(attacker: Attacker) -> None:
    """500 descriptors of unfinished results and of status files are polled."""
    endless, quick = attacker.program(sources.ENDLESS, "e"), attacker.program(sources.TWICE, "q")
    attacker.write(f"{endless}/calls/{attacker.tag}", THREE)
    paths = (f"results/{attacker.tag}", f"{quick}/status", f"results/{attacker.tag}.status")
    poll = select.poll()
    for number in range(POLLED):
        fd = attacker.open(paths[number % len(paths)], os.O_RDONLY | os.O_NONBLOCK)
        if fd is not None:
            poll.register(fd, select.POLLPRI | select.POLLIN)
    for turn in attacker.turns():
        attacker.attempt(poll.poll, 0)
        attacker.program(f"{sources.TWICE}// {turn % 50}\n", "q")


def xattrs(attacker: Attacker) -> None:
    """Extended attributes are listed, read and set."""
    attacker.write(f"arrays/{attacker.tag}", FOUR)
    for _ in attacker.turns():
        for path in (f"arrays/{attacker.tag}", "programs", "version"):
            place = attacker.mount / path
            for name in attacker.attempt(os.listxattr, place) or ["user.none"]:
                attacker.attempt(os.getxattr, place, name)
            attacker.attempt(os.setxattr, place, "user.mine", bytes(60_000))


def walks(attacker: Attacker) -> None:
    """Directories with thousands of names are listed, and each name asked for."""
    for number in range(KEPT):
        if attacker.is_on:
            attacker.write(f"arrays/{attacker.tag}_{number}", b"1")
    for _ in attacker.turns():
        for place, directories, files in os.walk(attacker.mount):
            for name in (*directories, *files):
                attacker.attempt(os.lstat, os.path.join(place, name))
                if not attacker.is_on:
                    return


def monitoring(attacker: Attacker) -> None:
    """The files that are made when they are read: trace, metrics, health and others."""
    program = attacker.program(sources.TWICE)
    for _ in attacker.turns():
        for name in ("trace", "metrics", "health", "README", "error_log", f"{program}/stats"):
            attacker.read(name)
        attacker.attempt(os.statvfs, attacker.mount)
        attacker.read("devices/cpu:0/memory")


def removals(attacker: Attacker) -> None:
    """Programs, calls and arrays are made and removed."""
    for _ in attacker.turns():
        program = attacker.program(sources.TWICE)
        for number in range(10):
            name = f"{attacker.tag}{number}"
            attacker.write(f"{program}/calls/{name}", FOUR)
            attacker.write(f"arrays/{name}", FOUR)
            attacker.remove(f"results/{name}")
            attacker.remove(f"arrays/{name}")
        attacker.remove(f"{program}.mlir")


def modes(attacker: Attacker) -> None:
    """Modes and times are changed, which the state directory records."""
    program = attacker.program(sources.TWICE)
    attacker.write(f"arrays/{attacker.tag}", FOUR)
    for turn in attacker.turns():
        for path in (f"{program}.mlir", program, f"arrays/{attacker.tag}"):
            attacker.attempt(os.chmod, attacker.mount / path, 0o700 if turn % 2 else 0o755)
            attacker.attempt(os.utime, attacker.mount / path, (turn, turn))


def bindings(attacker: Attacker) -> None:
    """Inputs are bound, replaced and unbound."""
    program, array = attacker.program(sources.TWICE), f"arrays/{attacker.tag}"
    attacker.write(array, FOUR)
    key = attacker.mount / f"{program}/inputs/0"
    for turn in attacker.turns():
        attacker.attempt(os.symlink, f"../../../{array}", key)
        attacker.write(f"{program}/calls/{attacker.tag}{turn % KEPT}", b"\n")
        attacker.remove(f"{program}/inputs/0")
        attacker.write(f"{program}/inputs/0", FOUR)
        attacker.write(f"{program}/inputs/{attacker.tag}{turn}", FOUR)
        attacker.remove(f"{program}/inputs/0")


def renames(attacker: Attacker) -> None:
    """Programs, results and arrays change their names, and arrays get ever more."""
    attacker.program(sources.TWICE)
    attacker.write(f"arrays/{attacker.tag}", FOUR)
    for turn in attacker.turns():
        names = (attacker.tag, f"{attacker.tag}r")
        old, new = names if turn % 2 == 0 else names[::-1]
        for place in ("programs/{}.mlir", "arrays/{}"):
            source, target = (attacker.mount / place.format(name) for name in (old, new))
            attacker.attempt(os.rename, source, target)
        attacker.write(f"programs/{new}/calls/{attacker.tag}_{turn}", FOUR)
        link = attacker.mount / f"arrays/{attacker.tag}_link{turn}"
        attacker.attempt(os.link, attacker.mount / f"arrays/{new}", link)
        result = attacker.mount / f"results/{attacker.tag}_{turn}"
        attacker.attempt(os.rename, result, attacker.mount / f"arrays/{attacker.tag}_{turn % 100}")


ATTACKS = (
    Attack("errors", "C10: errors of all kinds, each with another path", errors),
    Attack("bad-requests", "a conversation of refused requests", bad_requests),
    Attack("tiny-writes", "byte by byte, with fsync(2)", tiny_writes),
    Attack("spins", "reads with O_NONBLOCK of what is not there yet", spins),
    Attack("waiters", "500 threads that wait, and a result that is removed", waiters),
    Attack("polls", "poll(2) of 500 files that change", polls),
    Attack("xattrs", "extended attributes listed, read and set", xattrs),
    Attack("walks", "find(1) over thousands of files", walks),
    Attack("monitoring", "trace, metrics, health, README and statfs(2)", monitoring),
    Attack("removals", "programs, calls and arrays made and removed", removals),
    Attack("modes", "chmod and utime", modes),
    Attack("bindings", "inputs bound and unbound", bindings),
    Attack("renames", "programs, arrays and results renamed and linked", renames),
)
