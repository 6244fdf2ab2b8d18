"""``mountctl add``: programs copied into a mount, with a bar while they compile.

A copy's close(2) waits for the compile and gives its verdict; the words are in the program's
``error``.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mountctl import mounts
from mountctl.errors import NotAdded, NotMounted

BEGINNING = 20  # lines of an error that are shown


@attrs.frozen
class Refused:
    """A file and what the mount said about it."""

    file: Path
    reason: str


def add(mountpoint: str, files: list[Path]) -> None:
    """All are tried.  Raises NotMounted, NotAdded."""
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    refused = _copy_all(Path(mountpoint) / "programs", files)
    if refused:
        told = "\n".join(f"{one.file}: {one.reason}" for one in refused)
        raise NotAdded(f"{len(refused)} of {len(files)} refused\n{told}")


def _copy_all(programs: Path, files: list[Path]) -> list[Refused]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    refused = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        all_files = progress.add_task(f"0 of {len(files)}", total=len(files))
        for number, file in enumerate(files, 1):
            progress.update(all_files, description=f"{file.name} ({number} of {len(files)})")
            reason = _copy(file, programs / file.name)
            if reason:
                refused.append(Refused(file, reason))
            else:
                progress.console.print(f"{programs / file.stem}", highlight=False, soft_wrap=True)
            progress.advance(all_files)
    return refused


def _copy(file: Path, target: Path) -> str:
    """Empty, or why it was refused."""
    try:
        shutil.copyfile(file, target)
    except OSError as error:
        return _story(target.with_suffix("") / "error") or error.strerror or str(error)
    return ""


def _story(error_file: Path) -> str:
    """What ``programs/<program>/error`` says; empty for a file whose name made no program."""
    with contextlib.suppress(OSError):
        text = error_file.read_text()
        if text != "ok\n":
            return "\n".join(text.rstrip().splitlines()[:BEGINNING])
    return ""
