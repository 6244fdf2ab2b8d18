"""The pictures in docs/: ``python -m docs.tools.captures`` makes them anew.

What they show is a mount at work; names of the machine they were made on are replaced.  As text
they are in docs/OPERATIONS.md, as pictures of a terminal beside it.  docs/TOUR.md has a program.
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
from rich.console import Console

from benchmarks.processes import ROOT
from mountctl import top
from mountctl.doctor import report
from mountctl.doctor.finding import Finding
from tests.soak.mount import Mount, mounted

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


def terminal() -> Console:
    """One of ``WIDTH`` columns that keeps what it shows."""
    return Console(file=io.StringIO(), width=WIDTH, record=True, force_terminal=True)


def capture_top() -> Console:
    """Returns the screen of ``mountctl top`` while a small mount runs programs."""
    with mounted() as mount:
        source = (ROOT / "examples/saxpy.mlir").read_text()
        (mount.path / "programs/saxpy.mlir").write_text(source)
        (mount.path / "programs/saxpy/calls/kept").write_text("[1,1,1,1] [0,0,0,0]")
        with at_work(mount):
            time.sleep(WORK_S)
            now, before = top.once(str(mount.path), WORK_S)
    console = terminal()
    console.print(top.screen(msgspec.structs.replace(now, mountpoint=MOUNTPOINT), before))
    return console


def capture_doctor() -> Console:
    """Returns the findings of ``mountctl doctor``, without what differs between machines."""
    found = report.examine()
    findings = [_anonymous(one) for one in found if not one.subject.startswith("mount /")]
    console = terminal()
    report.show(findings, console)
    return console


def _anonymous(one: Finding) -> Finding:
    found = one.found.replace(sys.prefix, PREFIX).replace(str(Path.home()), "/root")
    if one.subject == "kernel":
        found = re.match(r"[\d.]+", found)[0]  # type: ignore[index]  # a release begins with numbers
    return msgspec.structs.replace(one, found=found)


def capture_help() -> Console:
    """Returns the page of ``mountctl help exit-codes``."""
    command = [sys.executable, "-m", "mountctl.cli", "help", "exit-codes"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    console = terminal()
    console.print(said, end="", highlight=False)
    return console


def capture_graph() -> str:
    """The picture of a program that the tour looks at."""
    with mounted() as mount:
        source = ROOT / "examples/digits/digits.jaxexport"
        (mount.path / "programs" / source.name).write_bytes(source.read_bytes())
        return (mount.path / "programs/digits/graph.svg").read_text()


CAPTURES = {
    "mountctl top": capture_top,
    "mountctl doctor": capture_doctor,
    "mountctl help exit-codes": capture_help,
}
DRAWN = {"mountctl top": "top.svg", "mountctl doctor": "doctor.svg"}


def words(console: Console) -> str:
    """What it shows, without colours."""
    text = console.export_text(clear=False)
    return "\n".join(line.rstrip() for line in text.splitlines())


def drawing(console: Console, title: str) -> str:
    """What it shows as a picture, which asks the network for no fonts."""
    svg = console.export_svg(title=title, unique_id=title.replace(" ", "-"), clear=False)
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def put(text: str, command: str, shown: str) -> str:
    """The document with the lines below ``$ command`` replaced."""
    block = re.compile(rf"(```console\n\$ {re.escape(command)}\n).*?(\n```)", re.DOTALL)
    changed, count = block.subn(lambda found: f"{found[1]}{shown.rstrip()}{found[2]}", text)
    if count != 1:
        raise LookupError(f"docs/OPERATIONS.md has {count} captures of {command}")
    return changed


def main() -> None:
    """Captures each command again and writes the document and its pictures."""
    text = DOCUMENT.read_text()
    for command, capture in CAPTURES.items():
        console = capture()
        text = put(text, command, words(console))
        if command in DRAWN:
            (DOCUMENT.parent / DRAWN[command]).write_text(drawing(console, command))
    DOCUMENT.write_text(text)
    (DOCUMENT.parent / "digits.svg").write_text(capture_graph())


if __name__ == "__main__":
    main()
