"""``mountctl add``: copies programs into a mount and shows how they are copied and compiled.

close(2) of a copy waits for the compile and returns its error; the program's ``error`` has the
message.  A bar shows how much is copied.  How long a compile takes is not known before it ends, so
for a compile the phase and the time until now are shown.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import attrs
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from mountctl import mounts
from mountctl.errors import Interrupted, NotAdded
from mountctl.mount_stats import flat_keyed

ERROR_LINES = 20  # of an error that are shown
PIECE_BYTES = 1 << 20
REFRESH_S = 0.1
PHASES = {  # compile_phase in the program's status
    "waiting": "waits for other compiles",
    "trace": "reading and lowering",
    "compile": "compiling",
    "load": "compiling on the device",
}


@attrs.define
class FileCopy:
    """A file that is copied into ``programs/``; one thread writes it, another shows its progress.

    Attributes:
        file: The file to copy.
        target: Its path in the mount.
        copied_bytes: How much the mount has taken.
        error: Why the mount refused it; empty if it did not.
    """

    file: Path
    target: Path
    copied_bytes: int = 0
    error: str = ""

    def run(self) -> None:
        """Copies the file and waits until it is compiled, or sets ``error``."""
        try:
            with self.file.open("rb") as source, self.target.open("wb", buffering=0) as sink:
                while piece := source.read(PIECE_BYTES):
                    view = memoryview(piece)
                    while view:
                        written = sink.write(view)
                        self.copied_bytes += written
                        view = view[written:]
        except OSError as error:
            self.error = self._reported_error() or error.strerror or str(error)

    def _reported_error(self) -> str:
        """Returns the first lines of the program's ``error``; empty if the name made no program."""
        with contextlib.suppress(OSError):
            text = (self.target.with_suffix("") / "error").read_text()
            if text != "ok\n":
                return "\n".join(text.rstrip().splitlines()[:ERROR_LINES])
        return ""

    def progress(self, size: int) -> str:
        """Returns what happens now, for people; ``size`` is the file's, in bytes."""
        if self.copied_bytes < size:
            return f"copying {decimal(self.copied_bytes)} of {decimal(size)}"
        with contextlib.suppress(OSError):
            status = flat_keyed((self.target.with_suffix("") / "status").read_text())
            return PHASES.get(status.get("compile_phase", ""), "")
        return ""


def add(mountpoint: str, files: list[Path]) -> None:
    """Copies files into ``programs/``, also after one of them is refused.

    Raises:
        NotMounted: if no jaxfs is mounted there.
        NotAdded: if files were refused; the message has their errors.
        Interrupted: at Ctrl-C.
    """
    mounts.require_mounted(mountpoint)
    try:
        copies = _copy_all(Path(mountpoint) / "programs", files)
    except KeyboardInterrupt:
        raise Interrupted("SIGINT: copied files are compiled, the others were not copied") from None
    errors = [f"{copy.file}: {copy.error}" for copy in copies if copy.error]
    if errors:
        raise NotAdded("\n".join([f"{len(errors)} of {len(files)} refused", *errors]))


def _copy_all(programs: Path, files: list[Path]) -> list[FileCopy]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    copies = [FileCopy(file, programs / file.name) for file in files]
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for number, copy in enumerate(copies, 1):
            name = f"{copy.file.name} ({number} of {len(files)})"
            bar = progress.add_task(name, total=None, doing="")
            _run_shown(copy, progress, bar)
            progress.remove_task(bar)
            if not copy.error:
                program = copy.target.with_suffix("")
                progress.console.print(f"{program}", highlight=False, soft_wrap=True)
    return copies


def _run_shown(copy: FileCopy, progress: Progress, bar: TaskID) -> None:
    """Runs a copy in a thread and shows it; Ctrl-C does not wait for a daemon thread.

    After the last byte the bar has no total, which rich shows as a bar that swings.
    """
    if progress.disable:
        copy.run()
        return
    size = copy.file.stat().st_size
    thread = threading.Thread(target=copy.run, daemon=True)
    thread.start()
    while thread.is_alive():
        total = None if copy.copied_bytes >= size else size
        doing = copy.progress(size)
        progress.update(bar, total=total, completed=copy.copied_bytes, doing=doing)
        thread.join(REFRESH_S)
