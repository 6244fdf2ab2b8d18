"""Runs the test suite again and again beside a busy core, and reports each file's failures.

    python -m tests.tools.stress --rounds 10 --report docs/reports/stress.json tests/vfs tests/e2e

Each file runs in a pytest of its own, with another hash seed in each round.  What ran is kept in
build/stress.json: a run that was interrupted goes on where it was, and more rounds add to those
there are.  On another Python it begins anew.  A test that fails once in ten rounds is a defect.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import click
import msgspec

from benchmarks.processes import ROOT
from benchmarks.report import machine

STATE = ROOT / "build/stress.json"
FILE_S = 900.0
NAMED = 200  # letters of an error's first line
SPIN = "while True: pass"
OUTCOMES = ("failure", "error")
NO_TESTS = 5  # pytest's exit status
HEADER = ("file", "rounds", "tests", "failures", "longest, s", "what failed")


class FileRun(msgspec.Struct, frozen=True):
    """One run of one file.

    Attributes:
        tests: How many ran.
        took_s: Seconds.
        failed: The first line of the error of each test that failed, by its name.
    """

    tests: int
    took_s: float
    failed: dict[str, str]


class State(msgspec.Struct):
    """What ran so far.

    Attributes:
        machine: Where.
        runs: By file; the place in the list is the round.
    """

    machine: dict[str, str] = msgspec.field(default_factory=dict)
    runs: dict[str, list[FileRun]] = msgspec.field(default_factory=dict)


def load(here: dict[str, str]) -> State:
    """Returns what ran so far with this Python."""
    if STATE.exists():
        state = msgspec.json.decode(STATE.read_bytes(), type=State)
        if state.machine.get("python") == here.get("python"):
            state.machine = here
            return state
    return State(here)


def files_in(places: Sequence[str]) -> list[str]:
    """Returns the test files in some directories, relative to the root of the repository.

    Raises:
        click.BadParameter: A place is neither a directory nor a file, or has no tests.
    """
    files: list[str] = []
    for place in places:
        path = ROOT / place
        found = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            raise click.BadParameter(f"{place}: expected a test file, or a directory with some")
        files += [str(file.relative_to(ROOT)) for file in found]
    return list(dict.fromkeys(files))


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """A process spins for the time of the block."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run_file(file: str, number: int, timeout_s: float) -> FileRun:
    """Runs the tests of one file in one round; kills pytest where it takes too long."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jaxfs-stress-") as folder:
        report = Path(folder, "junit.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
        process = subprocess.Popen(
            [*command, f"--junitxml={report}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
            return FileRun(0, timeout_s, {"(all)": f"did not end in {timeout_s:g} s"})
        tests, failed = read_junit(report)
    if status not in (0, NO_TESTS) and not failed:
        failed = {"(all)": f"pytest ended with {status} and named no test"}
    return FileRun(tests, time.monotonic() - began_s, failed)


def read_junit(path: Path) -> tuple[int, dict[str, str]]:
    """Returns how many tests a report of pytest has, and the first line of each error by test."""
    if not path.exists():
        return 0, {}
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    failed = {
        case.get("name", "(collection)"): _first_line(found.get("message") or found.text or "")
        for case in cases
        for kind in OUTCOMES
        for found in case.findall(kind)
    }
    return len(cases), failed


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:NAMED]


def as_markdown(state: State) -> str:
    """docs/reports/stress.md."""
    words = ", ".join(f"{name} {value}" for name, value in state.machine.items())
    rows = [HEADER, ("---",) * len(HEADER), *(_row(*item) for item in sorted(state.runs.items()))]
    runs = [run for all_runs in state.runs.values() for run in all_runs]
    return (
        "# The test suite, again and again\n\n"
        "Written by `make stress`, which runs each file beside a busy core; the same for programs "
        "is in `stress.json`.\n\n"
        f"{sum(run.tests for run in runs)} tests in {len(runs)} runs of {len(state.runs)} files, "
        f"{sum(len(run.failed) for run in runs)} failures.\n\n"
        f"Machine: {words}.\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)
    )


def _row(file: str, runs: list[FileRun]) -> tuple[str, ...]:
    """A failed test is named once, with its number of failures and the last error."""
    failures = [(name, reason) for run in runs for name, reason in run.failed.items()]
    names = [name for name, _ in failures]
    named = [
        f"{name} ({names.count(name)}): {reason.replace('|', chr(92) + '|')}"
        for name, reason in dict(failures).items()
    ]
    longest_s = max(run.took_s for run in runs)
    tests = max(run.tests for run in runs)
    return (
        file,
        str(len(runs)),
        str(tests),
        str(len(failures)),
        f"{longest_s:.0f}",
        "; ".join(named),
    )


@click.command()
@click.argument("places", nargs=-1)
@click.option("--rounds", default=10, show_default=True, help="How often each file runs.")
@click.option("--file-timeout", default=FILE_S, show_default=True, help="Seconds, for one file.")
@click.option("--fresh", is_flag=True, help="Forget what ran of these files.")
@click.option("--report", type=click.Path(path_type=Path), help="Also write .json and .md there.")
def main(
    places: tuple[str, ...], rounds: int, file_timeout: float, fresh: bool, report: Path | None
) -> None:
    """Exits 1 where a test failed."""
    state = load(dict(machine.describe()))
    files = files_in(places or ("tests",))
    for file in files if fresh else ():
        state.runs.pop(file, None)
    with busy_core():
        for number in range(rounds):
            for file in files:
                runs = state.runs.setdefault(file, [])
                if len(runs) > number:
                    continue
                runs.append(run_file(file, number, file_timeout))
                _save(STATE, state)
                _show(number, file, runs[-1])
    if report is not None:
        _save(report, state)
        report.with_suffix(".md").write_text(as_markdown(state))
    failures = sum(len(run.failed) for file in files for run in state.runs[file])
    click.echo(f"{failures} failures; a run with --fresh begins anew")
    sys.exit(failures > 0)


def _show(number: int, file: str, run: FileRun) -> None:
    click.echo(f"round {number + 1} {file}: {run.tests} tests, {run.took_s:.0f} s")
    for name, reason in run.failed.items():
        click.echo(f"    {name}: {reason}")


def _save(path: Path, state: State) -> None:
    """Replaces the file at once: a run may be interrupted at any time."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=1) + b"\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
