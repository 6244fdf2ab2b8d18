"""A mount for the checks that need one, and its end whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from benchmarks.gpu.config import Config, environment
from benchmarks.gpu.outcomes import Skip
from benchmarks.peers.floors import unmount_lazily
from benchmarks.processes import ROOT, end_pid
from mountctl import mounts
from mountctl.processes import daemon_of

MOUNT_S, SHELL_S = 35.0, 40.0
LAUNCHER = '#!/bin/sh\nexec "{python}" -m mountctl.cli "$@"\n'


def mountpoint(directory: Path) -> Path:
    """Returns where a run mounts."""
    return directory / "jax"


def make_fuse_device() -> None:
    """Makes /dev/fuse where the kernel has FUSE and only the device node is missing.

    Raises:
        Skip: There is no FUSE here, or no way to mount.
    """
    if "fuse" not in Path("/proc/filesystems").read_text().split():
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["modprobe", "fuse"], check=False, capture_output=True, timeout=10)
    if "fuse" not in Path("/proc/filesystems").read_text().split():
        raise Skip("the kernel has no FUSE (/proc/filesystems)")
    device = Path("/dev/fuse")
    if not device.exists():
        try:
            os.mknod(device, 0o20666, os.makedev(10, 229))
        except OSError as error:
            raise Skip(f"there is no /dev/fuse, and it cannot be made: {error}") from error
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        raise Skip(f"/dev/fuse cannot be opened: {error}") from error
    try:
        import pyfuse3  # noqa: F401, PLC0415  # to see whether it loads, with its library
    except ImportError as error:
        raise Skip(f"pyfuse3 cannot be imported: {error}") from error


class Mount:
    """A mounted jaxfs.

    Attributes:
        path: Where it is mounted.
        environment: For commands that use it; ``mountctl`` is on their PATH.
    """

    def __init__(self, config: Config) -> None:
        make_fuse_device()
        self.path = mountpoint(config.directory)
        programs = config.directory / "bin"
        programs.mkdir(exist_ok=True)
        launcher = programs / "mountctl"
        launcher.write_text(LAUNCHER.format(python=sys.executable))
        launcher.chmod(0o755)
        path = f"{programs}:{os.environ.get('PATH', os.defpath)}"
        # JAX's own choice, as for anyone; a try has to keep to the CPU
        platform = "cpu" if config.platform == "cpu" else ""
        self.environment = {**environment(platform), "PATH": path}
        self._options = ("-o", f"platform={config.platform}")
        self._patience = config.patience
        self._state = str(config.directory / "state")

    def start(self) -> None:
        """Mounts, unless it is mounted.

        Raises:
            CalledProcessError: It cannot be mounted.
        """
        if mounts.is_mounted(str(self.path)):
            return
        self.path.mkdir(exist_ok=True)
        self.shell(
            "mountctl mount $0 $1 --state-dir $2 $3", *self._options, self._state, str(self.path)
        )

    def shell(
        self, command: str, *arguments: str, cwd: Path = ROOT, wait_s: float = SHELL_S
    ) -> str:
        """Returns what bash prints.

        Raises:
            CalledProcessError: It fails; the error has what it printed.
            TimeoutExpired: It does not end.
        """
        done = subprocess.run(
            ["bash", "-c", command, *arguments],
            env=self.environment,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=wait_s * self._patience,
            check=False,
        )
        if done.returncode:
            words = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise ShellFailed(f"{command}: exit status {done.returncode}: {words}")
        return done.stdout


class ShellFailed(Exception):
    """A command failed; the message has its last lines."""


def clean_up(directory: Path) -> None:
    """Unmounts what a process has left, by force where it has to be."""
    path = mountpoint(directory)
    if not mounts.is_mounted(str(path)):
        return
    pid = daemon_of(str(path))
    command = [sys.executable, "-m", "mountctl.cli", "umount", "--force", str(path)]
    with suppress(subprocess.SubprocessError):
        subprocess.run(command, env=environment(""), capture_output=True, timeout=20, check=False)
    if mounts.is_mounted(str(path)):
        unmount_lazily(str(path))
        with suppress(OSError, subprocess.SubprocessError):  # where there is no fusermount3
            subprocess.run(["umount", "-l", str(path)], check=False, capture_output=True, timeout=9)
        if pid is not None:
            end_pid(pid)
