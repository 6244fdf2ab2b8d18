"""Damage: one change each, the same for the same random numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Mutation = Callable[[bytes, bytes, random.Random], bytes]  # data, other data, random numbers

# What length fields, indices and dimensions are compared with, or overflow at.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_TOKEN = re.compile(rb"\d+|[%@#!]?[A-Za-z_][\w.]*|\s+|.", re.DOTALL)
_NUMBER = re.compile(rb"\d+")
_NUMBERS = (b"0", b"1", b"-1", b"64", b"2147483648", b"9223372036854775807", b"1e400")


def flip_bits(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to four bits, anywhere."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def change_byte(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One byte becomes any other."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Cut off at the end."""
    return data[: rng.randrange(1, len(data))]


def remove(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Cut out up to 64 bytes."""
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.randint(1, 64) :]


def repeat(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Up to 64 bytes again, up to 100 times."""
    at = rng.randrange(len(data))
    part = data[at : at + rng.randint(1, 64)]
    return data[:at] + part * rng.randint(2, 100) + data[at:]


def splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """The beginning of one, the end of another."""
    return data[: rng.randrange(1, len(data))] + other[rng.randrange(len(other)) :]


def edit_size(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One, two, four or eight bytes become a number at an edge."""
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(max(1, len(data) - width))
    value = rng.choice(_EDGES) & ((1 << 8 * width) - 1)
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def swap_tokens(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Two words of a text change places."""
    tokens = _TOKEN.findall(data)
    words = [i for i, token in enumerate(tokens) if not token.isspace()]
    i, j = rng.choice(words), rng.choice(words)
    tokens[i], tokens[j] = tokens[j], tokens[i]
    return b"".join(tokens)


def swap_alike(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A word of a text becomes another of the same kind: a name, an operation, a number."""
    tokens = _TOKEN.findall(data)
    words = [i for i, token in enumerate(tokens) if _kind(token)]
    if not words:
        return change_byte(data, other, rng)
    i = rng.choice(words)
    tokens[i] = tokens[rng.choice([j for j in words if _kind(tokens[j]) == _kind(tokens[i])])]
    return b"".join(tokens)


def _kind(token: bytes) -> bytes:
    if token.startswith(b"stablehlo."):
        return b"stablehlo"
    return b"number" if token.isdigit() else token[:1] if token[:1] in b"%@" else b""


def edit_number(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A number in a text becomes another."""
    places = list(_NUMBER.finditer(data))
    if not places:
        return change_byte(data, other, rng)
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(_NUMBERS) + data[place.end() :]


BINARY: tuple[Mutation, ...] = (
    flip_bits,
    change_byte,
    truncate,
    remove,
    repeat,
    splice,
    edit_size,
)
TEXT: tuple[Mutation, ...] = (
    *(3 * (swap_alike, edit_number)),  # what may still be a program
    swap_tokens,
    remove,
    repeat,
    splice,
    change_byte,
)


def mutated(
    data: bytes, other: bytes, seed: int, mutations: tuple[Mutation, ...], most: int = 3
) -> bytes:
    """``data`` with one to ``most`` changes."""
    rng = random.Random(seed)
    for _ in range(rng.randint(1, most)):
        if len(data) > 1:  # else little is left to damage
            data = rng.choice(mutations)(data, other, rng) or data
    return data
