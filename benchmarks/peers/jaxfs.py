"""jaxfs itself, used as anyone would: mountctl, cp, an open ``call.raw``.

``Baseline`` is another checkout of jaxfs with its own virtual environment, so that a change can be
compared with what was before it in the same run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from benchmarks.peers.base import Peer
from benchmarks.peers.floors import unmount_lazily
from benchmarks.processes import ROOT, end_pid, environment, run_module
from benchmarks.transports import Endpoint, OpenFile

LOG_LINES = 5
MOUNTCTL_S = 60.0


class MountFailed(Exception):
    """mountctl failed; the message has its words."""


class Jaxfs(Peer):
    """A mount of this checkout.

    Attributes:
        mount_s: seconds of the last mount.
    """

    name = "jaxfs"
    what = "jaxfs, an open call.raw"
    mount_s = 0.0
    checkout = ROOT
    interpreter = sys.executable

    @property
    def mountpoint(self) -> Path:
        """Returns the directory that jaxfs is mounted on."""
        return self.workdir / "jax"

    @property
    def sources(self) -> Path:
        """Where programs are before they are copied into the mount."""
        return self.workdir / "sources"

    def start(self) -> None:
        """Mounts, and compiles a program for each message size.  Raises MountFailed."""
        self.mountpoint.mkdir()
        self.sources.mkdir()
        self.write_sources(*map(str, self.sizes))
        self.resources.callback(self._stop)
        self.mount()
        for size in self.sizes:
            self.install(f"affine_{size}")

    def write_sources(self, *names: str) -> None:
        """Makes programs in ``sources``: see ``benchmarks.workloads.sources``."""
        run_module("benchmarks.workloads.sources", str(self.sources), *names)

    def install(self, name: str) -> None:
        """Copies a program into the mount, which compiles it."""
        shutil.copyfile(self.sources / f"{name}.mlir", self.source_in_mount(name))

    def source_in_mount(self, name: str) -> Path:
        """Returns the path that a program's source is copied to."""
        return self.mountpoint / "programs" / f"{name}.mlir"

    def mount(self) -> None:
        """Returns when it answers.  Raises MountFailed."""
        before = perf_counter()
        self._mountctl("mount", "--state-dir", str(self.workdir / "state"), str(self.mountpoint))
        self.mount_s = perf_counter() - before

    def unmount(self) -> None:
        """Returns when the daemon has ended too.  Raises MountFailed."""
        self._mountctl("umount", str(self.mountpoint))

    def endpoint(self, size_bytes: int) -> Endpoint:
        """Returns ``call.raw`` of the program for messages of this size."""
        path = self.mountpoint / "programs" / f"affine_{size_bytes}" / "call.raw"
        return OpenFile(str(path), size_bytes)

    def front(self) -> int:
        """The pid of the process that serves the mount.  Raises MountFailed with its log's end."""
        try:
            status = json.loads(self._mountctl("status", "--json", str(self.mountpoint)))
            return int(status[0]["pid"])
        except (MountFailed, LookupError, TypeError) as error:
            log = self.workdir / "state" / "log"
            last = log.read_text().splitlines()[-LOG_LINES:] if log.exists() else ["no log"]
            raise MountFailed(f"no daemon serves the mount: {' / '.join(last)}") from error

    def engine(self) -> int:
        """The pid of the process that computes, from the file ``health``."""
        rows = (self.mountpoint / "health").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("engine_pid "))

    def server_processes(self) -> Mapping[str, int]:
        """Returns the process that serves the mount and the one that computes."""
        return {"front": self.front(), "engine": self.engine()}

    def _mountctl(self, *words: str) -> str:
        """What the checkout's own mountctl prints.  Raises MountFailed."""
        done = subprocess.run(
            [self.interpreter, "-m", "mountctl.cli", *words],
            cwd=self.checkout,  # "python -m" imports from here first
            env=environment(self.checkout),
            capture_output=True,
            text=True,
            timeout=MOUNTCTL_S,
            check=False,
        )
        if done.returncode:
            raise MountFailed(f"mountctl {words[0]}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _stop(self) -> None:
        """Unmounts, by force where that fails; in the end nothing runs and nothing is mounted."""
        try:
            pid = self.front()
        except MountFailed:
            return  # a call met it, and reported it
        try:
            self.unmount()
        except (MountFailed, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
            unmount_lazily(str(self.mountpoint))
            end_pid(pid)


class Baseline(Jaxfs):
    """Another checkout of jaxfs, with the interpreter of its ``.venv``."""

    name = "jaxfs-before"
    what = "jaxfs as another checkout has it, an open call.raw"

    def __init__(self, checkout: Path) -> None:
        super().__init__()
        self.checkout = checkout.resolve()
        self.interpreter = str(self.checkout / ".venv/bin/python")

    def start(self) -> None:
        """Raises MountFailed if the interpreter is missing or imports another jaxfs."""
        imported = self._imported_from()
        if imported.parent.parent != self.checkout:
            raise MountFailed(f"{self.interpreter} imports {imported}, which is not that checkout")
        super().start()

    def _imported_from(self) -> Path:
        command = [self.interpreter, "-c", "import jaxfs; print(jaxfs.__file__)"]
        try:
            done = subprocess.run(
                command,
                cwd=self.checkout,
                env=environment(self.checkout),
                capture_output=True,
                text=True,
                check=True,
            )
        except FileNotFoundError as error:
            message = f"{self.checkout} has no .venv: run `make setup` there first"
            raise MountFailed(message) from error
        except subprocess.CalledProcessError as error:
            raise MountFailed(f"{self.checkout}: {error.stderr.strip()}") from error
        return Path(done.stdout.strip()).resolve()
