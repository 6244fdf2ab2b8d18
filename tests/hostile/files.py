"""Bytes that are no program, or were one before something happened to them."""

from __future__ import annotations

import errno
import gzip
import pickle
from functools import partial
from pathlib import Path

from tests.hostile.case import VECTOR, Case, Stop, harmless, one
from tests.hostile.mutations import BINARY, mutated

DATA = Path(__file__).parent / "data"
GOOD = one(f"stablehlo.negate %x : {VECTOR}")
SPACES = 200_000_000
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def stored(kind: str) -> bytes:
    return (DATA / f"model.{kind}").read_bytes()


def damaged(kind: str, seed: int) -> bytes:
    return mutated(stored(kind), stored(kind), seed, BINARY)


# kind, seed: what is said of it.  All others of these seeds are refused alike.
_DAMAGED: dict[tuple[str, int], str] = {
    ("mlirbc", 1): "invalid section ID",
    ("mlirbc", 5): "duplicate top-level section",
    ("mlirbc", 7): "attempting to parse a byte",
    ("mlirbc", 8): "attempting to parse 186 bytes",
    ("mlirbc", 9): "duplicate top-level section",
    ("mlirbc", 13): "attempting to parse 246 bytes",
    ("portable", 0): "invalid section ID",
    ("portable", 4): "attempting to parse",
    ("portable", 22): "Attribute or Type",
    ("portable", 31): "duplicate top-level section",
}

CASES: dict[str, Case] = {
    "empty": Case("nothing", b"", Stop.CONTENT, "the file is empty"),
    "spaces_200mb": Case(
        "200 MB of spaces", lambda: b" " * SPACES, Stop.CONTENT, "only white space"
    ),
    "spaces_200mb_wide": Case(
        "200 MB of spaces and one character outside of Latin",
        lambda: b" " * SPACES + "\N{GRINNING FACE}".encode(),
        Stop.MEMORY,
        "not enough memory",
        errno.ENOSPC,
    ),
    "prose": Case("a letter", "Dear Sir or Madam,\n", Stop.PARSER, "not a program"),
    "nul_first": Case("a NUL, then a program", "\0" + GOOD, Stop.CONTENT, "binary data"),
    "nul_inside": Case(
        "a NUL in the middle of a word",
        GOOD.replace("negate", "ne\0gate"),
        Stop.PARSER,
        "is unknown",
    ),
    "nul_in_string": harmless(
        "a NUL in a string", one(f'stablehlo.negate %x {{a = "\0"}} : {VECTOR}')
    ),
    "latin_1": Case(
        "Latin-1", b"// caf\xe9\n" + GOOD.encode(), Stop.CONTENT, "byte 6 is not UTF-8"
    ),
    "utf_8_overlong": Case(
        "a slash in two bytes", b"\xc0\xaf" + GOOD.encode(), Stop.CONTENT, "byte 0 is not UTF-8"
    ),
    "surrogate": Case(
        "half of a character", b"// \xed\xa0\x80\n" + GOOD.encode(), Stop.CONTENT, "not UTF-8"
    ),
    "utf_16": Case("UTF-16", GOOD.encode("utf-16"), Stop.CONTENT, "UTF-16"),
    "byte_order_mark": Case(
        "a byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), Stop.CONTENT, "byte order mark"
    ),
    "crlf": harmless("lines that end as in DOS", GOOD.replace("\n", "\r\n")),
    "unknown_escape": Case(
        "an escape nobody knows",
        one(f'stablehlo.negate %x {{a = "\\q"}} : {VECTOR}'),
        Stop.PARSER,
        "unknown escape in string",
    ),
    "pickle": Case(
        "a pickle where none is taken",
        pickle.dumps(GOOD),
        Stop.CONTENT,
        "pickled functions",
        errno.EACCES,
    ),
    "elf": Case(
        "a program, but for Linux", b"\x7fELF\x02\x01\x01" + bytes(57), Stop.CONTENT, "native code"
    ),
    "png": Case("a picture", PNG, Stop.CONTENT, "not a program"),
    "gzip": Case("a program, packed", gzip.compress(GOOD.encode(), mtime=0), Stop.CONTENT, "gzip"),
    "npy": Case("an array", b"\x93NUMPY\x01\x00", Stop.CONTENT, ".npy array"),
    "hlo": Case("HLO text", "HloModule m\n", Stop.CONTENT, "HLO text"),
    "text_cut_off": Case("text, cut off", stored("mlir")[:300], Stop.PARSER, "expected"),
    "bytecode_magic_only": Case("four bytes of bytecode", b"ML\xefR", Stop.PARSER, "cut off"),
    "bytecode_cut_off": Case("bytecode, cut off", stored("mlirbc")[:400], Stop.PARSER, "cut off"),
    "portable_cut_off": Case(
        "an artifact, cut off", stored("portable")[:600], Stop.PARSER, "cut off"
    ),
    "bytecode_version": Case(
        "bytecode of version 99", b"ML\xefR\x63" + stored("mlirbc")[5:], Stop.PARSER, "version"
    ),
    "portable_version": harmless(
        "an artifact that calls itself StableHLO 9, and holds nothing new",
        stored("portable").replace(b"StableHLO_v1.", b"StableHLO_v9.", 1),
    ),
    "bytecode_name_not_text": Case(
        "bytecode with a name that is no text",
        stored("mlirbc").replace(b"act", b"\xff\xfe\xfd"),
        Stop.PARSER,
        "not UTF-8",
    ),
    **{
        f"{kind}_damaged_{seed}": Case(
            f"{kind} with random damage {seed}",
            partial(damaged, kind, seed),
            Stop.PARSER,
            reason,
        )
        for (kind, seed), reason in _DAMAGED.items()
    },
    "portable_damaged_149": Case(
        "portable with random damage 149", lambda: damaged("portable", 149), Stop.CRASH, "SIGABRT"
    ),
    "mlirbc_damaged_179": Case(
        "mlirbc with random damage 179",
        lambda: damaged("mlirbc", 179),
        Stop.DEADLINE,
        "reading the program took over",
        errno.ETIMEDOUT,
    ),
}
