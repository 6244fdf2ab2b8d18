"""Real processes as writers: those that end in good order lose nothing, killed ones commit nothing.

Each writer writes to its standard output and ends in its own way, while what it wrote has to wait:
a program for its compile, a call and a check for a new batch size, arrays for a long text.  The
table of targets and reasons to wait is in ``tests/vfs/test_commits.py``.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, ending_clean, mounting
from tests.e2e.exiting_callers import call_from_exiting_processes

ROW = """
func.func @main(%x: tensor<3xf32>) -> tensor<f32> {
  %z = stablehlo.constant dense<0.0> : tensor<f32>
  %0 = stablehlo.reduce(%x init: %z) applies stablehlo.add across dimensions = [0]
    : (tensor<3xf32>, tensor<f32>) -> tensor<f32>
  return %0 : tensor<f32>
}
"""
SAME = "func.func @main(%x: tensor<{n}xf32>) -> tensor<{n}xf32> {{ return %x : tensor<{n}xf32> }}"
PYTHON = "import os, sys, threading, time; data = sys.stdin.buffer.read()\n"
THREADS = "[threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(4)]"
RETURNING_C = """
#include <unistd.h>
int main(void) {
  static char data[1 << 22];
  long end = 0, got;
  while ((got = read(0, data + end, sizeof data - end)) > 0) end += got;
  return write(1, data, end) == end ? 0 : 1;
}
"""


def python(code: str) -> list[str]:
    """A process that has ``data`` to write; it is interpreted without site packages."""
    return [sys.executable, "-S", "-c", PYTHON + code]


IN_GOOD_ORDER = {
    "close": ["cat"],
    "sh": ["sh", "-c", 'IFS= read -r line; printf "%s\\n" "$line"'],
    "returns": python("sys.stdout.buffer.write(data)"),
    "_exit": python("os.write(1, data); os._exit(0)"),
    "_exit with threads": python(f"{THREADS}; os.write(1, data); os._exit(0)"),
    "thread that writes": python(
        "t = threading.Thread(target=os.write, args=(1, data)); t.start(); t.join(); os._exit(0)"
    ),
    "duplicate": python("fd = os.dup(1); os.write(fd, data); os.close(fd); os._exit(0)"),
    "two halves": python("os.write(1, data[:9]); os.write(1, data[9:]); os._exit(3)"),
    "fork": python("os.fork() or os._exit(0); os.wait(); os.write(1, data); os._exit(0)"),
    "child": python("os.fork() and (os.wait(), os._exit(0)); os.write(1, data); os._exit(0)"),
    "exec": python(
        "os.write(1, data); os.set_inheritable(1, False); os.execv('/bin/true', ['true'])"
    ),
    "exec of a child": python(
        "os.write(1, data[:9]); os.set_inheritable(1, False);"
        "os.fork() or os.execv('/bin/true', ['true']); os.wait();"
        "os.write(1, data[9:]); os._exit(0)"
    ),
    "perl": ["perl", "-e", "$/ = undef; print <STDIN>"],
    "node": ["node", "-e", 'process.stdout.write(require("fs").readFileSync(0))'],
    "C": ["{directory}/returning"],
}
KILLED = {
    "SIGKILL": python("os.write(1, data); os.kill(os.getpid(), 9)"),
    "SIGTERM": python("os.write(1, data); os.kill(os.getpid(), 15); time.sleep(9)"),
    "abort": python("os.write(1, data); os.abort()"),
    "SIGKILL with threads": python(f"{THREADS}; os.write(1, data); os.kill(os.getpid(), 9)"),
}
NUMBERS = itertools.count(2)


@attrs.frozen
class Target:
    """What is written, where it shows, and what it shows then."""

    path: str
    data: str
    shown: str
    expected: str


def target_of(kind: str) -> Target:
    """A target that nothing was written to, whose commit waits for something new."""
    n = next(NUMBERS)
    rows, long = f"[{', '.join(['[1.0, 2.0, 3.0]'] * n)}]", f"[{n}.0{', 2.0' * 60_000}]"
    vmap, bound = "transformations/vmap/row", "programs/bound"
    return {
        "program": Target(
            f"programs/p{n}.mlir", SAME.format(n=n), f"programs/p{n}.mlir", f"tensor<{n}xf32>"
        ),
        "call": Target(
            f"{vmap}/calls/c{n}", rows, f"results/c{n}.json", f"[{', '.join(['6.0'] * n)}]"
        ),
        "array": Target(f"arrays/a{n}", long, f"arrays/a{n}.json", f"[{n}.0, 2.0, "),
        "input": Target(f"{bound}/inputs/i{n}", long, f"{bound}/inputs/i{n}", "NUMPY"),
        "check": Target(f"{vmap}/check", rows, f"{vmap}/check", "out.0"),
        "device": Target("programs/row/device", f"cpu:{n % 2}", "programs/row/device", "cpu:"),
    }[kind]


KINDS = ("program", "call", "array")
MORE_KINDS = ("input", "check", "device")  # by some of the writers: each compile takes its time


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with mounting(tmp_path_factory.mktemp("mount"), "devices=2") as mount, ending_clean(mount):
        mount.add("row.mlir", ROW)
        mount.add("saxpy.mlir", SAXPY)
        mount.add("bound.mlir", SAXPY)
        yield mount


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bin")
    if shutil.which("cc"):
        (made / "returning.c").write_text(RETURNING_C)
        subprocess.run(["cc", "-o", made / "returning", made / "returning.c"], check=True)
    return made


def write(mount: Mount, target: Target, command: list[str], directory: Path) -> int:
    """Runs a writer; returns its status.  This process closes its own descriptor at once."""
    command = [word.format(directory=directory) for word in command]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]}")
    with open(mount.path / target.path, "wb", buffering=0) as out:
        writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, stderr=-3)
    writer.communicate(target.data.encode(), timeout=60)
    return writer.returncode


def rows(writers: dict[str, list[str]], some: tuple[str, ...]) -> list[tuple[str, str]]:
    """The table: all writers with three targets, some of them with the others."""
    return [(one, kind) for one in writers for kind in KINDS] + [
        (one, kind) for one in some for kind in MORE_KINDS
    ]


@pytest.mark.parametrize(("writer", "kind"), rows(IN_GOOD_ORDER, ("sh", "_exit with threads")))
def test_what_a_process_in_good_order_wrote_is_committed(
    row: Mount, directory: Path, writer: str, kind: str
) -> None:
    target = target_of(kind)
    assert write(row, target, IN_GOOD_ORDER[writer], directory) in (0, 3)
    if kind == "program":
        eventually(lambda: row.keyed(target.path.replace(".mlir", "/status"))["state"] == "ready")
    found = (row.path / target.shown).read_bytes().decode(errors="replace")
    assert target.expected in found
    assert kind != "device" or found.strip() == target.data


@pytest.mark.parametrize(("writer", "kind"), rows(KILLED, ("SIGKILL",)))
def test_what_a_killed_process_wrote_is_not_committed_and_its_name_is_free(
    row: Mount, directory: Path, writer: str, kind: str
) -> None:
    target, makes = target_of(kind), kind not in ("check", "device")
    before = b"" if makes else (row.path / target.shown).read_bytes()
    assert write(row, target, KILLED[writer], directory) < 0
    if makes:
        eventually(lambda: not (row.path / target.path).exists())
        assert not os.path.lexists(row.path / target.shown)
    else:
        assert (row.path / target.shown).read_bytes() == before
    assert write(row, target, ["cat"], directory) == 0


def test_an_id_of_a_killed_writer_can_be_used_for_another_program(row: Mount) -> None:
    target = Target("programs/row/calls/again", "[1, 2, 3]", "", "")
    assert write(row, target, KILLED["SIGKILL"], Path()) < 0
    eventually(lambda: not (row.path / target.path).exists())
    (row.path / "programs/saxpy/calls/again").write_text("[1, 1, 1, 1] [0, 0, 0, 0]")
    assert (row.path / "results/again.json").read_text() == "[2.0, 2.0, 2.0, 2.0]\n"


def test_calls_of_exiting_processes_are_not_lost_while_programs_compile(row: Mount) -> None:
    """The soak test does the same a thousand times."""
    assert call_from_exiting_processes(row.path, 30) == []


def test_a_shell_uses_what_a_shell_before_it_wrote(row: Mount) -> None:
    """The case of a user: each command is a process that exits without close(2)."""
    began = time.time_ns()
    rows = "[[1, 2, 3], [4, 5, 6], [7, 8, 9.5], " + ", ".join(["[0, 0, 0]"] * 97) + "]"
    done = row.sh(
        f"sh -c 'echo \"{rows}\"' > transformations/vmap/row/calls/s{began}\n"
        f"cat results/s{began}.txt"
    )
    assert done.stdout.split()[:3] == ["6.0", "15.0", "24.5"]
