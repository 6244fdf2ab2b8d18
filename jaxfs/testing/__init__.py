r"""Tests without a mount: a fake engine, a fake compiler, and the filesystem in one process.

``open_vfs`` gives a whole mount, and a client that does what programs do with files::

    async with open_vfs() as mount:
        client = mount.client
        await client.write("programs/add.mlir", "add(x: f32[2], y: f32[2]) -> f32[2]")
        assert await client.ask("programs/add/call", "[1, 2] [10, 20]") == b"[11.0, 22.0]\n"

Programs are lines of text (``FakeProgram``) that name a Python function.  A test decides what ends
when: ``mount.engine.hold()`` keeps runs under way, ``mount.compiler.hold("compile")`` compiles.
Nothing here imports jax or pyfuse3, and no process is started.
"""

from jaxfs.testing.fake_compiler import FakeCompiler, FakeJob
from jaxfs.testing.fake_engine import FakeEngine, FakeRun, device
from jaxfs.testing.fake_engines import FakeEngines
from jaxfs.testing.fake_program import FUNCTIONS, PICKLE, FakeProgram
from jaxfs.testing.in_process import OWNER, InProcessMount, open_vfs
from jaxfs.testing.vfs_client import ClientFile, VfsClient
from jaxfs.testing.waiting import eventually, eventually_async

__all__ = [
    "FUNCTIONS",
    "OWNER",
    "PICKLE",
    "ClientFile",
    "FakeCompiler",
    "FakeEngine",
    "FakeEngines",
    "FakeJob",
    "FakeProgram",
    "FakeRun",
    "InProcessMount",
    "VfsClient",
    "device",
    "eventually",
    "eventually_async",
    "open_vfs",
]
