"""Run the checks, print a line for each, and leave gpu.jsonl; exit 1 if one could not run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.gpu import mounted, report
from benchmarks.gpu.config import Config
from benchmarks.gpu.outcomes import Outcome, Run, encode, line
from benchmarks.gpu.plan import BUDGET_S, BY_NAME, ORDER, selected
from benchmarks.gpu.runner import Runner


class Log:
    """Prints outcomes, and writes each to gpu.jsonl at once: a run that is cut leaves them.

    Attributes:
        outcomes: All so far.
    """

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self.outcomes: list[Outcome] = []
        path.write_bytes(encode(run))

    def note(self, outcome: Outcome) -> None:
        """Adds an outcome."""
        self.outcomes.append(outcome)
        with self._path.open("ab") as file:
            file.write(encode(outcome))
        print(line(outcome), flush=True)


def not_executed(outcomes: Sequence[Outcome], *, on_a_gpu: bool) -> list[str]:
    """Returns what failed, was cut, or was skipped although this machine has what it needs."""
    return [
        outcome.check
        for outcome in outcomes
        if not outcome.has_run
        and not (outcome.verdict == "skipped" and (on_a_gpu or BY_NAME[outcome.check].may_skip))
    ]


@click.command()
@click.option("--platform", default="cuda", show_default=True, help="As JAX calls it.")
@click.option("--parts", default=ORDER, show_default=True, help="Letters; see benchmarks.gpu.plan.")
@click.option("--budget", default=BUDGET_S, show_default=True, help="Seconds for all of it.")
@click.option("--small", is_flag=True, help="Small arrays, to try the checks themselves.")
@click.option("--out", default="gpu-out", show_default=True, type=click.Path(path_type=Path))
@click.option("--report", "write", is_flag=True, help="Write docs/reports/gpu.{md,json}.")
def main(platform: str, parts: str, budget: float, small: bool, out: Path, write: bool) -> None:
    """Checks and figures of one GPU; see benchmarks/gpu."""
    out.mkdir(parents=True, exist_ok=True)
    log = Log(out / "gpu.jsonl", Run(platform, small, parts))
    with tempfile.TemporaryDirectory(prefix="jaxfs-gpu-") as root:
        config = Config(platform, str(Path(root).resolve()), small)
        runner = Runner(config, budget, log.note, mounted.clean_up)
        try:
            runner.run(selected(parts))
        finally:
            for path in (*config.directory.glob("*.log"), *config.directory.glob("*.txt*")):
                (out / path.name).write_bytes(path.read_bytes())
    if write:
        try:
            report.update(report.read(out / "gpu.jsonl"))
        except ValueError as error:
            print(f"docs/reports/gpu.md is as it was: {error}")
    failed = not_executed(log.outcomes, on_a_gpu=platform != "cpu")
    missed = [outcome.check for outcome in log.outcomes if outcome.verdict == "missed"]
    print(f"{len(log.outcomes)} checks; targets missed: {' '.join(missed) or 'none'}")
    if failed:
        sys.exit(f"these did not run to their end: {' '.join(failed)}; their logs are in {out}")


if __name__ == "__main__":
    main()
