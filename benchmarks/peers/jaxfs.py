"""jaxfs itself, used as anyone would: mountctl, cp, an open ``call.raw``."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from time import perf_counter

from benchmarks.peers.base import Peer
from benchmarks.peers.floors import unmount_lazily
from benchmarks.processes import END_S, environment, run_module
from benchmarks.transports import Endpoint, OpenFile
from mountctl.processes import Watched, daemon_of

LOG_LINES = 5


class MountFailed(Exception):
    """mountctl said no; the message is its words."""


def _mountctl(*words: str) -> None:
    command = [sys.executable, "-m", "mountctl.cli", *words]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise MountFailed(f"mountctl {words[0]}: {(done.stderr or done.stdout).strip()}")


class Jaxfs(Peer):
    name = "jaxfs"
    what = "jaxfs, an open call.raw"
    mount_s = 0.0  # of the last mount

    @property
    def mountpoint(self) -> Path:
        return self.workdir / "jax"

    @property
    def sources(self) -> Path:
        """Where the programs lie before they are copied in; ``slow.mlir`` among them."""
        return self.workdir / "sources"

    def front(self) -> int:
        """The pid of the process that serves the mount.  Raises MountFailed with its last words."""
        pid = daemon_of(str(self.mountpoint.resolve()))
        if pid is None:
            log = self.workdir / "state" / "log"
            words = log.read_text().splitlines()[-LOG_LINES:] if log.exists() else ["none"]
            raise MountFailed("no daemon serves the mount; its last words: " + " / ".join(words))
        return pid

    def start(self) -> None:
        self.mountpoint.mkdir()
        self.sources.mkdir()
        run_module("benchmarks.workloads.sources", str(self.sources), *map(str, self.sizes))
        self.resources.callback(self._insist)
        self.mount()
        for size in self.sizes:
            self.install(f"affine_{size}")

    def install(self, name: str) -> None:
        """Copy a program in, which compiles it."""
        shutil.copyfile(self.sources / f"{name}.mlir", self.source_in_mount(name))

    def source_in_mount(self, name: str) -> Path:
        return self.mountpoint / "programs" / f"{name}.mlir"

    def mount(self) -> None:
        """Returns when it answers.  Raises MountFailed."""
        before = perf_counter()
        _mountctl("mount", "--state-dir", str(self.workdir / "state"), str(self.mountpoint))
        self.mount_s = perf_counter() - before

    def unmount(self) -> None:
        """Returns when the daemon has ended too.  Raises MountFailed."""
        _mountctl("umount", str(self.mountpoint))

    def endpoint(self, size_bytes: int) -> Endpoint:
        path = self.mountpoint / "programs" / f"affine_{size_bytes}" / "call.raw"
        return OpenFile(str(path), size_bytes)

    def _insist(self) -> None:
        """Unmount politely, then not; in the end nothing runs and nothing is mounted."""
        try:
            pid = self.front()
        except MountFailed:
            return  # told already, where a call met it
        try:
            self.unmount()
        except (MountFailed, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            unmount_lazily(str(self.mountpoint))
            _end(pid)


def _end(pid: int) -> None:
    with suppress(ProcessLookupError), closing(Watched(pid)) as watched:
        os.kill(pid, signal.SIGTERM)
        if not watched.ends_within(END_S):
            os.kill(pid, signal.SIGKILL)
