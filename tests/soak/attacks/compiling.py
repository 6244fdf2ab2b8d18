"""Attacks by programs that take the compiler long, and by what is made of programs."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable

from tests.soak.attacks import sources
from tests.soak.attacks.attacker import Attack, Attacker

SINES = 20_000
PROGRAMS = 6
PICTURE_SINES = 2_000
DEPTH = 12
CONTROLS, CONTROL_BYTES = ("options", "signature", "device"), 32 << 20
_SEEDS = itertools.count(os.getpid() << 8)


def slow() -> str:
    """Returns a program that compiles for seconds, and that no cache has."""
    return sources.sines(SINES, next(_SEEDS))


def _in_threads(steps: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=steps, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def moves(attacker: Attacker) -> None:
    """Staging files become programs by rename(2) while the directory is listed."""

    def move(number: int) -> None:
        staged, name = f"programs/.{attacker.tag}{number}", f"programs/{attacker.tag}{number}.mlir"
        for turn in attacker.turns():
            attacker.write(staged, (slow() if turn % 4 == 0 else sources.TWICE).encode())
            attacker.attempt(os.rename, attacker.mount / staged, attacker.mount / name)
            attacker.attempt(os.listdir, attacker.mount / "programs")

    _in_threads(move, 2)


def compiles(attacker: Attacker) -> None:
    """Slow programs are written, written again, and removed while they compile."""

    def compile_again(number: int) -> None:
        for turn in attacker.turns():
            attacker.program(slow(), f"_{number}")
            if turn % 2:
                attacker.remove(f"programs/{attacker.tag}_{number}.mlir")

    def remove_early() -> None:
        for turn in attacker.turns():
            attacker.remove(f"programs/{attacker.tag}_{turn % PROGRAMS}.mlir")
            attacker.pause(0.5)

    remover = threading.Thread(target=remove_early)
    remover.start()
    _in_threads(compile_again, PROGRAMS)
    remover.join()


def small_compiles(attacker: Attacker) -> None:
    """Small programs, each another one, as fast as they are taken."""

    def write(number: int) -> None:
        for _ in attacker.turns():
            attacker.program(sources.sines(1, next(_SEEDS)), f"_{number}_{next(_SEEDS)}")

    _in_threads(write, PROGRAMS)


def specializations(attacker: Attacker) -> None:
    """Each call brings another size, and each path another batch."""
    program = attacker.program(sources.ANY_LENGTH)
    batched = f"transformations/vmap/{attacker.tag}"

    def call(number: int) -> None:
        for turn in attacker.turns():
            size = 1 + PROGRAMS * turn + number
            path = program if turn % 2 else batched
            text = str([1.0] * size if turn % 2 else [[1.0]] * size)
            attacker.write(f"{path}/calls/{attacker.tag}{size}", text.encode())

    _in_threads(call, PROGRAMS)


def paths(attacker: Attacker) -> None:
    """Deep paths of transformations are looked up, and some of them compiled."""
    attacker.program(sources.sines(50, next(_SEEDS)))
    for turn in attacker.turns():
        steps = "/".join(f"vmap:axis_size={turn + level + 1}" for level in range(turn % DEPTH))
        place = f"transformations/{steps}/{attacker.tag}" if steps else "transformations"
        attacker.attempt(os.stat, attacker.mount / place)
        attacker.attempt(os.listdir, attacker.mount / f"transformations/{steps}")
        if turn % 16 == 1:
            attacker.read(f"{place}/signature")


def pictures(attacker: Attacker) -> None:
    """graph.svg, hlo.txt, stablehlo.mlir and cost of large programs."""
    for turn in attacker.turns():
        program = attacker.program(sources.sines(PICTURE_SINES, next(_SEEDS)), str(turn % 4))
        for name in ("graph.svg", "hlo.txt", "stablehlo.mlir", "signature.json", "cost"):
            attacker.read(f"{program}/{name}")


def checks(attacker: Attacker) -> None:
    """The interpreter works on large programs and products."""
    large = attacker.program(sources.sines(PICTURE_SINES, next(_SEEDS)), "s")
    endless = attacker.program(sources.ENDLESS, "e")

    def check(number: int) -> None:
        for _ in attacker.turns():
            attacker.write(f"{(large, endless)[number % 2]}/check", b"random")

    _in_threads(check, 4)


def constants(attacker: Attacker) -> None:
    """Programs with 16 MB of constants, as text."""
    numbers = ", ".join(["1.5"] * (1 << 21))
    kind = f"tensor<{1 << 21}xf32>"
    head = f"func.func public @main(%x: {kind}) -> {kind} {{\n"
    for turn in attacker.turns():
        constant = f"  %c = stablehlo.constant dense<[{turn}.25, {numbers[5:]}]> : {kind}\n"
        body = f"  %y = stablehlo.add %x, %c : {kind}\n  return %y : {kind}\n}}\n"
        program = attacker.program(head + constant + body)
        attacker.write(f"{program}/calls/{attacker.tag}{turn}.raw", bytes(4 << 21))
        attacker.read(f"{program}/stablehlo.mlir")


def options(attacker: Attacker) -> None:
    """The control files of a program are written again and again."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        attacker.write(f"{program}/device", b"cpu:0\n")
        attacker.write(
            f"{program}/{CONTROLS[turn % len(CONTROLS)]}", b"a b\n" * (CONTROL_BYTES // 4)
        )
        attacker.write(f"{program}/options", b"keep_unused True\n" * (1 + turn % 1000))
        attacker.write(f"{program}/signature", b"f32[4] " * (1 + turn % 1000))


ATTACKS = (
    Attack("moves", "C4: rename(2) of slow programs while programs/ is listed", moves),
    Attack("compiles", "C5: six programs of 20,000 sines, written again and removed", compiles),
    Attack("small-compiles", "six writers of small programs", small_compiles),
    Attack("specializations", "each call brings another size", specializations),
    Attack("paths", "deep transformation paths", paths),
    Attack("pictures", "graph.svg, hlo.txt and others of 2,000 sines", pictures),
    Attack("checks", "check of 2,000 sines, and of an endless loop", checks),
    Attack("constants", "programs with 16 MB of constants", constants),
    Attack("options", "control files written again and again, some with 32 MB", options),
)
