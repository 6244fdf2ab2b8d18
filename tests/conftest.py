"""Fixtures for tests on real mounts: real kernel, real daemon, real engine."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAXPY = (EXAMPLES / "saxpy.mlir").read_text()
UNMOUNT_S = 20


class Mount:
    """A mounted jaxfs and what a test needs to look behind it."""

    def __init__(self, path: Path, state_dir: Path, options: str = "") -> None:
        self.path = path
        self.state_dir = state_dir
        self.options = options

    def start(self) -> None:
        """``mountctl mount``; it returns when the mount answers and the engine is up."""
        options = ["-o", self.options] if self.options else []
        command = [*mountctl("mount"), *options, "--state-dir", str(self.state_dir), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        """``mountctl umount``."""
        command = [*mountctl("umount"), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def remount(self, options: str | None = None) -> None:
        """The same state directory, a new daemon."""
        self.stop()
        self.options = self.options if options is None else options
        self.start()

    @property
    def log(self) -> str:
        """What the daemon logged."""
        return (self.state_dir / "log").read_text()

    def sh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run bash with the mount as its working directory."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    def keyed(self, name: str) -> dict[str, str]:
        """A flat keyed file as a dictionary."""
        rows = (self.path / name).read_text().splitlines()
        return {key: value for key, _, value in (row.partition(" ") for row in rows)}

    def add(self, name: str, source: str | bytes) -> Path:
        """Write a program; returns its directory."""
        data = source.encode() if isinstance(source, str) else source
        target = self.path / "programs" / name
        target.write_bytes(data)
        return self.path / "programs" / name.rpartition(".")[0]


def mountctl(command: str) -> list[str]:
    """The command line of this very checkout."""
    return [sys.executable, "-m", "mountctl.cli", command]


@contextlib.contextmanager
def mounting(root: Path, options: str = "") -> Iterator[Mount]:
    """A mount below ``root`` that is gone afterwards, whatever the test did."""
    path, state = root / "jax", root / "state"
    path.mkdir()
    mount = Mount(path, state, options)
    mount.start()
    try:
        yield mount
    finally:
        if os.path.ismount(path):
            mount.stop()
        deadline = time.monotonic() + UNMOUNT_S
        while os.path.ismount(path) and time.monotonic() < deadline:
            time.sleep(0.05)


@pytest.fixture(scope="module")
def shared_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """One mount for a module; the log must hold no warning in the end."""
    with mounting(tmp_path_factory.mktemp("mount")) as mount:
        yield mount
        log = mount.log
    assert "WARNING" not in log and "ERROR" not in log, log


@pytest.fixture
def mount(shared_mount: Mount) -> Iterator[Mount]:
    """The module's mount, emptied after each test."""
    yield shared_mount
    for place in ("results", "programs"):
        for entry in os.scandir(shared_mount.path / place):
            if entry.is_file():
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)


@pytest.fixture
def own_mount(tmp_path: Path) -> Iterator[Mount]:
    """A mount of its own, for tests that kill, fill or remount."""
    with mounting(tmp_path) as mount:
        yield mount
