"""The pictures in docs/OPERATIONS.md: ``python -m benchmarks.captures`` makes them anew.

What they show is a mount at work; names of the machine they were made on are replaced.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console, RenderableType

from benchmarks.processes import ROOT
from benchmarks.soak.mount import Mount, mounted
from mountctl import top
from mountctl.doctor import report
from mountctl.doctor.finding import Finding

DOCUMENT = ROOT / "docs/OPERATIONS.md"
MOUNTPOINT, PREFIX = "/jax", "/opt/jaxfs"
WIDTH = 96
CLIENTS = 4
WORK_S = 2.0


@contextmanager
def at_work(mount: Mount) -> Iterator[None]:
    """Clients that call all the time."""
    stopped = threading.Event()

    def client(number: int) -> None:
        while not stopped.is_set():
            (mount.program / f"calls/c{number}").write_text(f"{[number] * 16}")
            result = mount.path / f"results/c{number}"
            result.read_bytes()
            result.unlink()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def picture(shown: RenderableType) -> str:
    """As a terminal of ``WIDTH`` columns has it."""
    file = io.StringIO()
    Console(file=file, width=WIDTH).print(shown)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def capture_top() -> str:
    with mounted() as mount:
        source = (ROOT / "examples/saxpy.mlir").read_text()
        (mount.path / "programs/saxpy.mlir").write_text(source)
        (mount.path / "programs/saxpy/calls/kept").write_text("[1,1,1,1] [0,0,0,0]")
        with at_work(mount):
            time.sleep(WORK_S)
            now, before = top.once(str(mount.path), WORK_S)
    return picture(top.screen(msgspec.structs.replace(now, mountpoint=MOUNTPOINT), before))


def capture_doctor() -> str:
    found = report.examine()
    findings = [_anonymous(one) for one in found if not one.subject.startswith("mount /")]
    file = io.StringIO()
    report.show(findings, Console(file=file, width=WIDTH))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _anonymous(one: Finding) -> Finding:
    found = one.found.replace(sys.prefix, PREFIX).replace(str(Path.home()), "/root")
    if one.subject == "kernel":
        found = re.match(r"[\d.]+", found)[0]  # type: ignore[index]  # a release begins with numbers
    return msgspec.structs.replace(one, found=found)


def capture_help() -> str:
    command = [sys.executable, "-m", "mountctl.cli", "help", "exit-codes"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


CAPTURES = {
    "mountctl top": capture_top,
    "mountctl doctor": capture_doctor,
    "mountctl help exit-codes": capture_help,
}


def put(text: str, command: str, shown: str) -> str:
    """The document with what stands below ``$ command`` replaced."""
    block = re.compile(rf"(```console\n\$ {re.escape(command)}\n).*?(\n```)", re.DOTALL)
    changed, count = block.subn(lambda found: f"{found[1]}{shown.rstrip()}{found[2]}", text)
    if count != 1:
        raise LookupError(f"docs/OPERATIONS.md has {count} captures of {command}")
    return changed


def main() -> None:
    text = DOCUMENT.read_text()
    for command, capture in CAPTURES.items():
        text = put(text, command, capture())
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
