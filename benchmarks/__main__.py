"""``python -m benchmarks``: jaxfs beside its peers, as tables and JSON."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from benchmarks import plan
from benchmarks.peers import PEERS, Baseline, Jaxfs, Peer
from benchmarks.plan import Section
from benchmarks.processes import ROOT
from benchmarks.report import faq, output
from benchmarks.run import Results, run

REPORTS = ROOT / "docs/reports"


def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # through every context manager


def chosen_peers(names: tuple[str, ...], checkout: Path | None) -> list[Peer]:
    """The peers in the order of the tables; the other checkout's jaxfs beside this one's."""
    peers: list[Peer] = []
    for name, kind in PEERS.items():
        if names and name not in names:
            continue
        peers.append(kind())
        if kind is Jaxfs and checkout is not None:
            peers.append(Baseline(checkout))
    return peers


def write_reports(results: Results) -> None:
    """What the documents show of a full run."""
    (REPORTS / "bench.md").write_text(output.as_markdown(results))
    (REPORTS / "bench.json").write_text(output.as_json(results))
    faq.update()


@click.command()
@click.option("--quick", is_flag=True, help="Fewer sizes and rounds: under 2 minutes.")
@click.option(
    "--section",
    "sections",
    multiple=True,
    type=click.Choice([section.value for section in Section]),
    help="Only this part of a run; may be repeated.",
)
@click.option(
    "--peer",
    "names",
    multiple=True,
    type=click.Choice(list(PEERS)),
    help="Only this peer; may be repeated.  Without echo-c a run is void for targets.",
)
@click.option(
    "--checkout",
    envvar="JAXFS_BENCH_CHECKOUT",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another checkout of jaxfs, with a .venv of its own: measured in turns as jaxfs-before.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Where JSON goes.")
def main(
    quick: bool,
    sections: tuple[str, ...],
    names: tuple[str, ...],
    checkout: Path | None,
    json_file: Path | None,
) -> None:
    """Measure calls of one program through jaxfs, and through what people use instead.

    Gradients of imported programs are measured beside JAX's own.  A full run writes
    docs/reports/bench.md, docs/reports/bench.json and the table in docs/FAQ.md.

    \b
    Two checkouts are compared in about a minute by

        python -m benchmarks --quick --section small-call --checkout DIR
    """  # noqa: D301  # click looks for the character \b, which keeps the lines below it
    signal.signal(signal.SIGTERM, _end)
    console = Console()
    wanted = plan.QUICK if quick else plan.FULL
    if sections:
        wanted = wanted.limited(frozenset(map(Section, sections)))
    with console.status("starting") as status:
        results = run(chosen_peers(names, checkout), wanted, status.update)
    output.show(results, console)
    if json_file:
        json_file.write_text(output.as_json(results))
    if not (quick or sections or names or checkout):
        write_reports(results)
    sys.exit(1 if results.failures else 0)


if __name__ == "__main__":
    main()
