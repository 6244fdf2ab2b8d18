"""autofs(5) maps with ``-fstype=jaxfs``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Mount, front_of

has_autofs = "autofs" in Path("/proc/filesystems").read_text().split()
may_not = os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode
LIMIT_S = 180


@pytest.mark.skipif(
    bool(may_not) or not has_autofs, reason="autofs needs root and a kernel with it"
)
def test_a_walk_into_an_autofs_map_mounts_and_reads(tmp_path: Path) -> None:
    """Twice, with an unmount in between, by an automounter that speaks the kernel's protocol."""
    (tmp_path / "auto").mkdir()
    automounter = [sys.executable, "-m", "tests.mountctl.automounter"]
    done = subprocess.run(
        ["unshare", "-m", *automounter, str(tmp_path / "auto"), str(tmp_path / "state")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("interface 1\n") == 2


def test_a_daemon_has_a_session_of_its_own_once_it_is_mounted(own_mount: Mount) -> None:
    """So a terminal's signals do not reach it; before that it is in the group of mount(8)."""
    front = front_of(own_mount)
    assert os.getsid(front) == os.getpgid(front) == front
