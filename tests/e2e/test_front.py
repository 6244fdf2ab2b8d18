"""The front stays small and plain: what it must never do shows in its own process."""

from __future__ import annotations

import os
from pathlib import Path

from jaxfs.testing import eventually
from mountctl.processes import daemon_of
from tests.conftest import SAXPY, Mount, descriptors_of, leaving_nothing


def front_pid(mount: Mount) -> int:
    """The daemon's process."""
    pid = daemon_of(str(mount.path))
    assert pid is not None
    return pid


def test_front_never_maps_jaxlib(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a; cat results/a.txt > /dev/null")
    maps = Path(f"/proc/{front_pid(mount)}/maps").read_text()
    assert "libfuse3" in maps
    assert "jaxlib" not in maps


def test_descriptors_are_given_back(mount: Mount) -> None:
    with leaving_nothing(mount):
        big = mount.add("big.mlir", SAXPY.replace("4xf32", "65536xf32"))
        for number in range(40):
            (big / f"calls/{number}.raw").write_bytes(bytes(2 * 4 * 65536))
            (mount.path / f"results/{number}").read_bytes()
            os.unlink(mount.path / f"results/{number}")
    eventually(lambda: mount.keyed("health")["shared_memory_used_bytes"] == "0")
    segments = [link for _, link in descriptors_of(front_pid(mount)) if link.startswith("/memfd:")]
    assert len(segments) < 20, "free segments are used again"
