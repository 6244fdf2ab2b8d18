"""The floors: filesystems that give back what was written, and compute nothing.

A call of jaxfs cannot be faster than that of the C floor: two requests of the kernel, each with a
switch to the server and back.  The other two show what Python and what pyfuse3 with trio add.
"""

from __future__ import annotations

import subprocess
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.c_compiler import compile_c
from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, OpenFile

C_SOURCE = Path(__file__).with_name("echo_c") / "server.c"


def unmount_lazily(mountpoint: str) -> None:
    """Removes a mount that may still be there; does nothing where there is none."""
    subprocess.run(
        ["fusermount3", "-u", "-z", "-q", "--", mountpoint], check=False, capture_output=True
    )


class Echo(Peer):
    """A filesystem with one file, ``call``."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The server's command line, but for the mount point.  Raises CannotCompile."""

    def start(self) -> None:
        """Mounts the filesystem in a directory of its own; returns when it answers."""
        mountpoint = self.workdir / "echo"
        mountpoint.mkdir()
        self.resources.callback(unmount_lazily, str(mountpoint))
        started = self.resources.enter_context(server(*self.command(), str(mountpoint)))
        self._pid = started.pid

    def endpoint(self, size_bytes: int) -> Endpoint:
        """Returns the file ``call``, which gives back what is written to it."""
        return OpenFile(str(self.workdir / "echo/call"), size_bytes, echoes=True)

    def server_processes(self) -> Mapping[str, int]:
        """Returns the one process of the filesystem."""
        return {"server": self._pid}


class EchoC(Echo):
    """The C floor, which ratios are against and which decides whether a run counts."""

    name = "echo-c"
    what = "echo filesystem in C (-O2) on libfuse's low-level interface, one thread"

    def command(self) -> Sequence[str]:
        """Compiles the server; returns its command line.  Raises CannotCompile."""
        program = self.workdir / "server"
        compile_c(C_SOURCE, program, "fuse3")
        return (str(program),)


class EchoPython(Echo):
    """What the interpreter adds to the C floor."""

    name = "echo-python"
    what = "echo filesystem in Python that reads /dev/fuse itself, one thread"

    def command(self) -> Sequence[str]:
        """Returns the command line of the Python server."""
        return (sys.executable, "-m", "benchmarks.peers.echo_python.server")


class EchoPyfuse3(Echo):
    """What pyfuse3 and trio add to Python."""

    name = "echo-pyfuse3"
    what = "echo filesystem on pyfuse3 and trio, with their own request loop"

    def command(self) -> Sequence[str]:
        """Returns the command line of the pyfuse3 server."""
        return (sys.executable, "-m", "benchmarks.peers.echo_pyfuse3.server")


FLOORS = (EchoC.name, EchoPython.name, EchoPyfuse3.name)
