"""The floor: pyfuse3 alone."""

from __future__ import annotations

import subprocess

from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, OpenFile

SERVER = "benchmarks.peers.echo_pyfuse3.server"


def unmount_lazily(mountpoint: str) -> None:
    """Take a mount away that may be there still; nothing where there is none."""
    subprocess.run(
        ["fusermount3", "-u", "-z", "-q", "--", mountpoint], check=False, capture_output=True
    )


class Floor(Peer):
    name = "floor"
    what = "pyfuse3 echo filesystem, computes nothing"

    def start(self) -> None:
        mountpoint = self.workdir / "echo"
        mountpoint.mkdir()
        self.resources.callback(unmount_lazily, str(mountpoint))
        self.resources.enter_context(server(SERVER, str(mountpoint)))

    def endpoint(self, size_bytes: int) -> Endpoint:
        return OpenFile(str(self.workdir / "echo/call"), size_bytes, echoes=True)
