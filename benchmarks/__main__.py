"""``python -m benchmarks``: jaxfs beside its peers, as tables and JSON."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from benchmarks import plan
from benchmarks.peers import PEERS
from benchmarks.processes import ROOT
from benchmarks.report import faq, report
from benchmarks.run import run


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # through every context manager


@click.command()
@click.option("--quick", is_flag=True, help="Fewer sizes and rounds: under 90 s.")
@click.option("--only", multiple=True, type=click.Choice(list(PEERS)), help="May be repeated.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Where JSON goes.")
def main(quick: bool, only: tuple[str, ...], json_file: Path | None) -> None:
    """Measure calls of one program through jaxfs, and through what people use instead; and
    gradients of imported programs beside JAX's own.

    A full run writes docs/reports/bench.md, docs/reports/bench.json and the table in docs/FAQ.md.
    """
    signal.signal(signal.SIGTERM, _end)
    console = Console()
    chosen = plan.QUICK if quick else plan.FULL
    with console.status("starting") as status:
        results = run([name for name in PEERS if name in (only or PEERS)], chosen, status.update)
    report.show(results, console)
    reports = ROOT / "docs/reports"
    if not (quick or only):
        (reports / "bench.md").write_text(report.as_markdown(results))
    if json_file or not (quick or only):
        (json_file or reports / "bench.json").write_text(report.as_json(results))
    if not (quick or only):
        faq.update()
    sys.exit(1 if results.failures else 0)


if __name__ == "__main__":
    main()
