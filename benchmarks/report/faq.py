"""The table in docs/FAQ.md, which shows what the last full run has measured."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import msgspec

from benchmarks.plan import Client
from benchmarks.processes import ROOT
from benchmarks.report.tables import seconds_words, size_words

DOCUMENT = ROOT / "docs/FAQ.md"
FIGURES = ROOT / "docs/reports/bench.json"
PEERS = {
    "jaxfs": "jaxfs",
    "fastapi": "FastAPI",
    "grpc": "gRPC",
    "python-c": "`python -c`",
    "echo-pyfuse3": "an echo filesystem on pyfuse3",
    "echo-c": "one in C",
}
_TABLE = re.compile(r"(?<=<!-- benchmarks.report.faq -->\n).*?(?=<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Measured:
    """What the table needs of a figure in bench.json."""

    peer: str
    size_bytes: int
    clients: int
    client: str
    p50_s: float


def figures() -> list[Measured]:
    """Those of the last full run."""
    found = json.loads(FIGURES.read_text())["figures"]
    return msgspec.convert(found, list[Measured])


def table(found: list[Measured]) -> str:
    """Median calls of one Python client; a cell is empty where nothing was measured."""
    one = [f for f in found if f.clients == 1 and f.client == Client.PYTHON]
    cells = {(f.size_bytes, f.peer): seconds_words(f.p50_s) for f in one}
    peers = [peer for peer in PEERS if any(f.peer == peer for f in one)]
    rows = [("each way", *(PEERS[peer] for peer in peers)), ("---",) * (len(peers) + 1)]
    for size in dict.fromkeys(size for size, _ in cells):
        rows.append((size_words(size), *(cells.get((size, peer), "") for peer in peers)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def document() -> str:
    """docs/FAQ.md with the figures of docs/reports/bench.json."""
    found = table(figures())
    text, count = _TABLE.subn(lambda _: found, DOCUMENT.read_text())
    if count != 1:
        raise LookupError(f"docs/FAQ.md has {count} tables of figures")
    return text


def update() -> None:
    """Writes docs/FAQ.md; ``benchmarks.__main__`` does so after a full run."""
    DOCUMENT.write_text(document())
