"""Attacks by data: texts and archives that grow, sparse files, large views, odd headers."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable

import numpy as np

from tests.soak.attacks import sources
from tests.soak.attacks.archives import npz_bomb, overlapping
from tests.soak.attacks.attacker import WRITE, Attack, Attacker

WORD_NUMBERS = 1 << 17  # of the array that a text names again and again: 256 kB
CALL_BYTES, FEW_BYTES = 250_000, 900
BOMB_BYTES, OVERLAPPING_BYTES, OVERLAPPING_MEMBERS = 199 << 20, 40 << 20, 1500
REFUSED_BYTES = 5_000_000
SPARSE_BYTES, TRUNCATED_BYTES = 256 << 20, 1 << 30
VIEWED_NUMBERS = 16 << 20  # f32: 64 MiB
RESULT_NUMBERS = 128 << 20  # f32: 512 MiB
SCALAR = np.float32(1.1).tobytes()


def multiply_text(attacker: Attacker) -> None:
    """A call is one word again and again, the name of an array of 131,072 numbers."""
    program, array = attacker.program(sources.TWICE), f"arrays/{attacker.tag}"
    attacker.write(array, b"1 " * WORD_NUMBERS)
    word = array.encode() + b" "
    for turn in attacker.turns():
        nbytes = CALL_BYTES if turn % 2 else FEW_BYTES
        attacker.write(f"{program}/calls/{attacker.tag}{turn}", word * (nbytes // len(word)))


def bombs(attacker: Attacker) -> None:
    """An archive is far larger inside than outside."""
    _write_everywhere(attacker, npz_bomb(BOMB_BYTES), ".npz")


def overlaps(attacker: Attacker) -> None:
    """All members of an archive are the same bytes."""
    _write_everywhere(attacker, overlapping(OVERLAPPING_BYTES, OVERLAPPING_MEMBERS), ".npz")


def _write_everywhere(attacker: Attacker, data: bytes, suffix: str = "") -> None:
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}{suffix}", data)
        attacker.write(f"arrays/{attacker.tag}{suffix}", data)
        attacker.write(f"{program}/check", data)
        attacker.write(f"{program}/inputs/0", data)


def refused_calls(attacker: Attacker) -> None:
    """Each call has an id of its own, and none fits."""
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}.raw", bytes(REFUSED_BYTES))
        attacker.write(f"{program}/calls/{attacker.tag}{turn}t", b"1.5 " * (REFUSED_BYTES // 4))


def sparse_writes(attacker: Attacker) -> None:
    """One byte is written far beyond the end of a file."""
    _with_each_file(attacker, lambda fd: os.pwrite(fd, b"1", SPARSE_BYTES))


def truncations(attacker: Attacker) -> None:
    """A file grows and shrinks."""

    def resize(fd: int) -> None:
        for nbytes in (TRUNCATED_BYTES, 0, TRUNCATED_BYTES):
            os.ftruncate(fd, nbytes)

    _with_each_file(attacker, resize)


def _with_each_file(attacker: Attacker, step: Callable[[int], object]) -> None:
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        for path in (
            f"arrays/{attacker.tag}",
            f"{program}/calls/{attacker.tag}{turn}",
            f"{program}/inputs/0",
            f"programs/{attacker.tag}s.mlir",
            f"programs/.{attacker.tag}",
        ):
            fd = attacker.open(path, WRITE)
            if fd is not None:
                attacker.attempt(step, fd)
                attacker.attempt(os.close, fd)


def views(attacker: Attacker) -> None:
    """A large result is read in each format; its size is asked for, too."""
    program = attacker.program(sources.broadcast(VIEWED_NUMBERS))
    attacker.write(f"{program}/calls/{attacker.tag}.raw", SCALAR)
    for _ in attacker.turns():
        for suffix in ("txt", "csv", "json", "npz", "safetensors", "png"):
            view = f"results/{attacker.tag}.{suffix}"
            attacker.attempt(os.stat, attacker.mount / view)
            attacker.read(view)


def large_results(attacker: Attacker) -> None:
    """Results are made and kept until no memory is left, and a few of them removed again."""
    program = attacker.program(sources.broadcast(RESULT_NUMBERS))
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}.raw", SCALAR)
        attacker.attempt(os.stat, attacker.mount / f"results/{attacker.tag}{turn}")
        if turn % 8 == 7:
            attacker.remove(f"results/{attacker.tag}{turn - 7}")


def texts(attacker: Attacker) -> None:
    """Numbers of 250,000 digits, brackets that nest, words that are no numbers."""
    program = attacker.program(sources.TWICE)
    hard = (b"1" * CALL_BYTES, b"0." + b"1" * CALL_BYTES, b"[" * CALL_BYTES, b"nan," * 60_000)
    for turn in attacker.turns():
        attacker.write(f"{program}/calls/{attacker.tag}{turn}", hard[turn % len(hard)])
        attacker.write(f"arrays/{attacker.tag}", hard[turn % len(hard)])


def headers(attacker: Attacker) -> None:
    """Headers of .npy and .safetensors that nest, or name 20,000 tensors, or lie of sizes."""
    nested = "{'descr': " + "(" * 4000 + ")" * 4000 + ", 'fortran_order': False, 'shape': (4,)}\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(nested)) + nested.encode()
    huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}\n"
    liar = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(huge)) + huge.encode()
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    tensors = json.dumps({f"t{number}": empty for number in range(20_000)}).encode()[: 1 << 20]
    hard = (npy, liar, struct.pack("<Q", len(tensors)) + tensors)
    program = attacker.program(sources.TWICE)
    for turn in attacker.turns():
        data = hard[turn % len(hard)]
        attacker.write(f"{program}/calls/{attacker.tag}{turn}", data)
        attacker.write(f"arrays/{attacker.tag}", data)


ATTACKS = (
    Attack("text", "C1: 250 kB of the name of an array of 131,072 numbers", multiply_text),
    Attack("bombs", "C2: a .npz of 199 kB that holds 199 MB", bombs),
    Attack("overlaps", "C2: a .npz of 1,500 members of 40 MB that are the same bytes", overlaps),
    Attack("refused-calls", "C3: calls of 5 MB that fit no program", refused_calls),
    Attack("sparse", "C9: one byte at 256 MB, in each kind of file", sparse_writes),
    Attack("truncate", "C9: ftruncate(2) to 1 GB, of each kind of file", truncations),
    Attack("views", "C9: a result of 64 MiB in each format", views),
    Attack("large-results", "results of 512 MiB until memory is refused", large_results),
    Attack("texts", "long numbers, deep brackets", texts),
    Attack("headers", "headers that nest, have 20,000 names, or lie", headers),
)
