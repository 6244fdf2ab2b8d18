"""Calls by processes that exit without close(2), while the program that they call compiles.

Shells, Python and most other programs leave it to the kernel to close their output.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from jaxfs.testing import eventually
from tests.soak.attacks.sources import sines
from tests.soak.mount import Mount
from tests.soak.report import Figure

ROUNDS, CALLS_EACH = 25, 40
SINES = 1000  # some seconds to compile
ANSWERED_S = 30.0  # after the program is there
INPUT = "[0, 0, 0, 0]"


EXIT = f"""
import os, sys
os.write(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT), b"{INPUT}")
os._exit(0)
"""
# commands that write the file that is named by their last argument
WRITERS = (
    ("sh", "-c", f"echo '{INPUT}' > \"$0\""),
    ("bash", "-c", f'sh -c "echo \'{INPUT}\'" > "$0"'),  # another shell opens it
    (sys.executable, "-S", "-c", EXIT),
)


def calls_of_processes_that_exit(mount: Mount) -> list[Figure]:
    """Each of some programs is called by many processes while it compiles."""
    rounds = [_round(mount.path, number) for number in range(ROUNDS)]
    failed, lost, differ = (sum(counts) for counts in zip(*rounds, strict=True))
    count = ROUNDS * CALLS_EACH
    name = f"{count} calls by processes that exit without close(2) while programs compile"
    return [
        Figure(f"{name}: writers that failed", failed, 0, "processes"),
        Figure(f"{name}: lost", lost, 0, "calls"),
        Figure(f"{name}: programs with two answers", differ, 0, "programs"),
    ]


def _round(mount: Path, number: int) -> tuple[int, int, bool]:
    """Returns how many writers failed, how many calls were lost, and whether answers differ."""
    program = mount / f"programs/exits{number}"
    source = program.with_suffix(".mlir")
    writing = threading.Thread(target=source.write_text, args=(sines(SINES, number + 1),))
    writing.start()
    eventually(program.exists)
    ids = [f"exits{number}_{call}" for call in range(CALLS_EACH)]
    failed = _write_all([program / "calls" / call_id for call_id in ids])
    writing.join()
    with suppress(AssertionError):  # the lost are counted
        eventually(lambda: _have_results(mount, ids), ANSWERED_S)
    answers = [_answer(mount / "results", call_id) for call_id in ids]
    return failed, answers.count(""), len(set(answers) - {""}) > 1


def _have_results(mount: Path, ids: list[str]) -> bool:
    return set(ids) <= set(os.listdir(mount / "results"))


def _write_all(paths: list[Path]) -> int:
    """Writes each file by a process of its own, and returns how many processes failed."""
    processes = [
        subprocess.Popen([*WRITERS[number % len(WRITERS)], str(path)], stdin=subprocess.DEVNULL)
        for number, path in enumerate(paths)
    ]
    return sum(process.wait() != 0 for process in processes)


def _answer(results: Path, call_id: str) -> str:
    """Returns the result as text; empty where the call was lost."""
    with suppress(OSError):
        return (results / f"{call_id}.txt").read_text()
    return ""
