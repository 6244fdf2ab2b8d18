"""A mount to soak, its processes, and what they use."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.processes import environment
from mountctl import mounts
from mountctl.processes import daemon_of

LIMIT_S = 120
TICKS_S = os.sysconf("SC_CLK_TCK")
AFFINE = """
func.func public @main(%x: tensor<16xf32>) -> tensor<16xf32> {
  %two = stablehlo.constant dense<2.0> : tensor<16xf32>
  %one = stablehlo.constant dense<1.0> : tensor<16xf32>
  %p = stablehlo.multiply %x, %two : tensor<16xf32>
  %y = stablehlo.add %p, %one : tensor<16xf32>
  return %y : tensor<16xf32>
}
"""


class Process:
    """Figures of a process, from proc(5)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS_S

    @property
    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) << 10

    @property
    def descriptors(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())


class Mount:
    """A mounted jaxfs with one program, ``affine``: y = 2 * x + 1 on f32[16]."""

    def __init__(self, root: Path, options: str = "") -> None:
        self.path = root / "jax"
        self._state = root / "state"
        self._options = ("-o", options) if options else ()

    def start(self) -> None:
        """Raises CalledProcessError."""
        self.path.mkdir()
        self.start_again()
        (self.path / "programs/affine.mlir").write_text(AFFINE)

    def start_again(self) -> None:
        """Raises CalledProcessError."""
        _mountctl("mount", *self._options, "--state-dir", str(self._state), str(self.path))

    def stop(self) -> None:
        _mountctl("umount", "--force", str(self.path))

    @property
    def program(self) -> Path:
        return self.path / "programs/affine"

    @property
    def front(self) -> Process:
        pid = daemon_of(str(self.path))
        if pid is None:
            raise RuntimeError("no daemon serves the mount; its log is " + self.log)
        return Process(pid)

    @property
    def engine(self) -> Process:
        """pid 0 while there is none."""
        rows = (self.path / "health").read_text().splitlines()
        return Process(next(int(row.split()[1]) for row in rows if row.startswith("engine_pid ")))

    @property
    def waiters(self) -> int:
        """Requests that wait; the one that asks is not counted."""
        rows = (self.path / "metrics").read_text().splitlines()
        return next(int(row.split()[1]) for row in rows if row.startswith("jaxfs_waiters ")) - 1

    @property
    def log(self) -> str:
        return (self._state / "log").read_text()


def _mountctl(*words: str) -> None:
    command = [sys.executable, "-m", "mountctl.cli", *words]
    subprocess.run(command, env=environment(), check=True, timeout=LIMIT_S, stdout=sys.stderr)


@contextmanager
def mounted(options: str = "") -> Iterator[Mount]:
    """For the time of the block; nothing is left after it.  Other users reach its directory."""
    with tempfile.TemporaryDirectory(prefix="jaxfs-soak-") as root:
        Path(root).chmod(0o755)
        mount = Mount(Path(root).resolve(), options)
        try:
            mount.start()
            yield mount
        finally:
            if mounts.is_mounted(str(mount.path)):
                with suppress(subprocess.SubprocessError):
                    mount.stop()
