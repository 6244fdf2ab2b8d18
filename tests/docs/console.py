"""Documents that are run: what stands in their ```console blocks, typed into one bash.

The reader of a document is ``ada``, and the checkout is ``~/jaxfs``; whoever runs the tests is
shown as her.  What differs from run to run (times, versions, dates) is compared without its value.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

READER = "/home/ada"
LIMIT_S = 120
_MARK = "-- the next command --"
_BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", re.DOTALL | re.MULTILINE)
_OWNERS = re.compile(r"^([-dlrwxst]{10} +\d+) \S+ +\S+ ", re.MULTILINE)
_VOLATILE = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b\d+(\.\d+)? (s|ms|us)\b", "N s"),
        (r"(_usec) \d+", r"\1 N"),
        (r"\b(jax|jaxlib|jaxfs) \d[\w.]*", r"\1 V"),
        (r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b", "DATE"),
        (r"\b\d{4}-\d\d-\d\dT[\d:.]+\S*", "DATE"),
        (r"\b[0-9a-f]{64}\b", "SHA256"),
    )
)


@attrs.frozen
class Typed:
    """A command, which may go over several lines, and what the document shows below it."""

    command: str
    shown: str

    def text(self) -> str:
        """As it stands in the document."""
        prompted = "$ " + self.command.replace("\n", "\n> ")
        return f"{prompted}\n{self.shown}"


def commands(document: str) -> list[Typed]:
    """All of a document, in order."""
    return [typed for block in _BLOCK.findall(document) for typed in _commands(block)]


def _commands(block: str) -> Iterator[Typed]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *rest = part.splitlines(keepends=True)
        while rest and rest[0].startswith("> "):
            first += rest.pop(0)[2:]
        yield Typed(first.rstrip("\n"), "".join(rest))


def run(typed: list[Typed], home: Path, checkout: Path) -> list[Typed]:
    """The same commands with what they print here, as ``ada`` would see it."""
    script = ["exec 2>&1", *(f"echo '{_MARK}'\n{one.command}" for one in typed), "exit"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=home,
        env=_environment(home, checkout),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )
    _, *printed = done.stdout.split(f"{_MARK}\n")
    printed += ["(bash has ended)\n"] * (len(typed) - len(printed))
    said = [_as_ada(text, home) for text in printed]
    return [Typed(one.command, text) for one, text in zip(typed, said, strict=True)]


def _environment(home: Path, checkout: Path) -> dict[str, str]:
    """Where ``mountctl`` and ``python`` are this checkout's, and nothing of the user's is found."""
    programs = home / ".bin"
    programs.mkdir()
    python = shlex.quote(sys.executable)
    for name, words in (("python", ""), ("mountctl", "-m mountctl.cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {python} {words} "$@"\n')
        (programs / name).chmod(0o755)
    (home / "jaxfs").symlink_to(checkout)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    return {
        **kept,
        "HOME": str(home),
        "JAX_PLATFORMS": "cpu",
        "LC_ALL": "C.UTF-8",
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout),
    }


def _as_ada(text: str, home: Path) -> str:
    text = _OWNERS.sub(r"\1 ada ada ", text.replace(str(home), READER))
    return re.sub(r"^bash: line \d+: ", "bash: ", text, flags=re.MULTILINE)


def is_same(shown: str, printed: str) -> bool:
    """But for what differs from run to run; a shown line of three dots stands for any lines."""
    for pattern, replacement in _VOLATILE:
        shown, printed = pattern.sub(replacement, shown), pattern.sub(replacement, printed)
    parts = re.split(r"^\.\.\.\n", shown, flags=re.MULTILINE)
    return re.fullmatch(r"(?:.*\n)*".join(map(re.escape, parts)), printed) is not None


def rewritten(document: str, found: list[Typed]) -> str:
    """The document with what was printed; where that is the same, the old words stay."""
    rest = iter(found)

    def block(match: re.Match[str]) -> str:
        return "".join(
            (old if is_same(old.shown, new.shown) else new).text()
            for old, new in zip(_commands(match[0]), rest, strict=False)
        )

    return _BLOCK.sub(block, document)
