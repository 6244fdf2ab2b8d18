"""The table in docs/FAQ.md, so that it says no more than the last full run has measured."""

from __future__ import annotations

import json
import re
from typing import Any

from benchmarks.clients.samples import Figure
from benchmarks.processes import ROOT
from benchmarks.report.report import seconds_words, size_words

DOCUMENT = ROOT / "docs/FAQ.md"
FIGURES = ROOT / "docs/reports/bench.json"
PEERS = {
    "jaxfs": "jaxfs",
    "fastapi": "FastAPI",
    "grpc": "gRPC",
    "python-c": "`python -c`",
    "floor": "a filesystem that computes nothing",
}
_TABLE = re.compile(r"(?<=<!-- benchmarks.report.faq -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table(results: dict[str, Any]) -> str:
    """Median calls with one client; a cell is empty where nothing was measured."""
    figures = [Figure(**figure) for figure in results["figures"]]
    cells = {(f.size_bytes, f.peer): seconds_words(f.p50_s) for f in figures if f.clients == 1}
    rows = [("each way", *PEERS.values()), ("---",) * (len(PEERS) + 1)]
    for size in dict.fromkeys(size for size, _ in cells):
        rows.append((size_words(size), *(cells.get((size, peer), "") for peer in PEERS)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def document() -> str:
    """docs/FAQ.md with the figures of docs/reports/bench.json."""
    found = table(json.loads(FIGURES.read_text()))
    text, count = _TABLE.subn(lambda _: found, DOCUMENT.read_text())
    if count != 1:
        raise LookupError(f"docs/FAQ.md has {count} tables of figures")
    return text


def update() -> None:
    """Keep docs/FAQ.md; ``benchmarks.__main__`` does so after a full run."""
    DOCUMENT.write_text(document())
