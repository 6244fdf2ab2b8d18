"""``mountctl add``: programs copied into a mount, with a bar while they are copied and compiled.

A copy's close(2) waits for the compile and gives its verdict; the words are in the program's
``error``.  How much is copied is known exactly.  How long a compile takes nobody knows before it
has ended, so what is shown of it is what it does and for how long.
"""

from __future__ import annotations

import contextlib
import threading
from io import FileIO
from pathlib import Path

import attrs
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from mountctl import mounts
from mountctl.errors import Interrupted, NotAdded, NotMounted

BEGINNING = 20  # lines of an error that are shown
PIECE_BYTES = 1 << 20
LOOK_S = 0.1
PHASES = {  # of the program's status
    "waiting": "waits for other compiles",
    "trace": "reading and lowering",
    "compile": "compiling",
    "load": "compiling on the device",
}


@attrs.frozen
class RefusedFile:
    """A file and what the mount said about it."""

    file: Path
    reason: str


@attrs.define
class FileCopy:
    """A file on its way; it is written by one thread and looked at by another."""

    file: Path
    target: Path
    copied_bytes: int = 0
    reason: str = ""  # why it was refused

    def run(self) -> None:
        """Copy, and wait for the verdict."""
        try:
            with self.file.open("rb") as source, self.target.open("wb", buffering=0) as sink:
                while piece := source.read(PIECE_BYTES):
                    self._write(sink, piece)
        except OSError as error:
            story = _story(self.target.with_suffix("") / "error")
            self.reason = story or error.strerror or str(error)

    def _write(self, sink: FileIO, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            written = sink.write(view)
            self.copied_bytes += written
            view = view[written:]

    def doing(self, size: int) -> str:
        """What happens now, for people."""
        if self.copied_bytes < size:
            return f"copying {decimal(self.copied_bytes)} of {decimal(size)}"
        return PHASES.get(self._phase(), "")

    def _phase(self) -> str:
        with contextlib.suppress(OSError):
            for row in (self.target.with_suffix("") / "status").read_text().splitlines():
                key, _, value = row.partition(" ")
                if key == "compile_phase":
                    return value
        return ""


def add(mountpoint: str, files: list[Path]) -> None:
    """All are tried.  Raises NotMounted, NotAdded, Interrupted."""
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    try:
        refused = _copy_all(Path(mountpoint) / "programs", files)
    except KeyboardInterrupt:
        raise Interrupted("SIGINT: what is copied goes on to compile, the rest is not") from None
    if refused:
        told = "\n".join(f"{one.file}: {one.reason}" for one in refused)
        raise NotAdded(f"{len(refused)} of {len(files)} refused\n{told}")


def _copy_all(programs: Path, files: list[Path]) -> list[RefusedFile]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    refused = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for number, file in enumerate(files, 1):
            name = f"{file.name} ({number} of {len(files)})"
            bar = progress.add_task(name, total=None, doing="")
            copy = FileCopy(file, programs / file.name)
            _watch(copy, progress, bar)
            progress.remove_task(bar)
            if copy.reason:
                refused.append(RefusedFile(file, copy.reason))
            else:
                progress.console.print(f"{programs / file.stem}", highlight=False, soft_wrap=True)
    return refused


def _watch(copy: FileCopy, progress: Progress, bar: TaskID) -> None:
    """Show a copy until its end.  A bar that has come to its end swings while the mount works."""
    if progress.disable:
        copy.run()
        return
    size = copy.file.stat().st_size
    thread = threading.Thread(target=copy.run, daemon=True)  # Ctrl-C does not wait for it
    thread.start()
    while thread.is_alive():
        is_copied = copy.copied_bytes >= size
        total = None if is_copied else size
        progress.update(bar, total=total, completed=copy.copied_bytes, doing=copy.doing(size))
        thread.join(LOOK_S)


def _story(error_file: Path) -> str:
    """What ``programs/<program>/error`` says; empty for a file whose name made no program."""
    with contextlib.suppress(OSError):
        text = error_file.read_text()
        if text != "ok\n":
            return "\n".join(text.rstrip().splitlines()[:BEGINNING])
    return ""
