"""A whole mount in one process: ``Vfs`` and all below it, with a fake engine and compiler."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from jaxfs.arrays.bindings import restore_bindings
from jaxfs.arrays.persistence import ArrayStore
from jaxfs.calls.admission import quotas_of
from jaxfs.calls.call import Call
from jaxfs.calls.call_registry import Calls
from jaxfs.errors import JaxfsError
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.builder import Builder
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_registry import Programs
from jaxfs.programs.record_writer import Arguments, Returned
from jaxfs.programs.store import Store
from jaxfs.testing.fake_compiler import FakeCompiler
from jaxfs.testing.fake_engine import FakeEngine
from jaxfs.testing.fake_engines import FakeEngines
from jaxfs.testing.vfs_client import VfsClient
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.vfs import Vfs

OWNER = Credentials(1000, 1000)  # the mounting user


@attrs.frozen
class InProcessMount:
    """What ``open_vfs`` gives.

    Attributes:
        vfs: The operations that FUSE requests call.
        mount: What they work on.
        client: File operations of the mounting user.
        engines: The fakes behind the calls.
        compiler: The fake that programs are compiled with.
        state_dir: What another ``open_vfs`` may be given, for a remount.
    """

    vfs: Vfs
    mount: Mount
    client: VfsClient
    engines: FakeEngines
    compiler: FakeCompiler
    state_dir: Path

    @property
    def engine(self) -> FakeEngine:
        """The mounting user's engine, which is everybody's unless engines are per user."""
        return self.engines.owner

    def user(self, uid: int, gid: int | None = None) -> VfsClient:
        """Returns file operations of another user."""
        return VfsClient(self.vfs, self.mount, Credentials(uid, uid if gid is None else gid))


@asynccontextmanager
async def open_vfs(
    options: Options | None = None,
    *,
    state_dir: Path | None = None,
    engines: FakeEngines | None = None,
    compiler: FakeCompiler | None = None,
) -> AsyncIterator[InProcessMount]:
    r"""A mount for the time of a block, without FUSE, processes and jax.

    Args:
        options: As after ``-o``.
        state_dir: A temporary one where not given.
        engines: One engine with one CPU device where not given.
        compiler: A fresh one where not given.

    >>> async def main():
    ...     async with open_vfs() as mount:
    ...         await mount.client.write("programs/add.mlir", "add(x: f32[2], y: f32[2]) -> f32[2]")
    ...         return await mount.client.ask("programs/add/call", "[1, 2] [10, 20]")
    >>> trio.run(main)
    b'[11.0, 22.0]\n'
    """
    options = options or Options()
    engines, compiler = engines or FakeEngines(owner_uid=OWNER.uid), compiler or FakeCompiler()
    failure: BaseException | None = None
    with tempfile.TemporaryDirectory(prefix="jaxfs-testing-") as scratch:
        store = Store(state_dir or Path(scratch), _at_once)
        try:
            async with trio.open_nursery() as nursery:
                mount = _assemble(options, store, engines, compiler, nursery)
                array_store = _restore(mount, store)
                vfs = Vfs(mount)
                client = VfsClient(vfs, mount, OWNER)
                try:
                    yield InProcessMount(vfs, mount, client, engines, compiler, store.root)
                except (trio.Cancelled, GeneratorExit):
                    raise
                except BaseException as error:  # a test's own failure: not in a group
                    failure = error
                if array_store is not None:
                    await array_store.save()
                nursery.cancel_scope.cancel()
        finally:
            await engines.close()
            store.close()
    if failure is not None:
        raise failure


async def _at_once(
    function: Callable[[*Arguments], Returned], /, *arguments: *Arguments
) -> Returned:
    """Calls a function that waits for the disk: a clock that jumps would not wait for a thread."""
    await trio.lowlevel.checkpoint()
    return function(*arguments)


def _assemble(
    options: Options,
    store: Store,
    engines: FakeEngines,
    compiler: FakeCompiler,
    nursery: trio.Nursery,
) -> Mount:
    """Puts a mount together as ``front.main`` does."""
    pickles = PicklePolicy(options.pickle, OWNER.uid, compiler)
    quotas = quotas_of(options)
    builder = Builder(store, quotas, compiler, engines, pickles, nursery, options)

    def build_failed(program: SourceProgram, error: JaxfsError) -> None:
        user = Credentials(program.attr.uid, program.attr.gid)
        mount.note(user, f"programs/{program.source_name}", error)

    programs = Programs(builder, quotas, nursery, build_failed)

    def failed(call: Call, error: JaxfsError) -> None:
        user = Credentials(call.attr.uid, call.attr.gid)
        mount.note(user, f"results/{call.id}", error)

    calls = Calls(engines, programs.derivations, options, quotas, failed, nursery)
    compiler.slots.quotas = quotas
    owner = InodeAttr(OWNER.uid, OWNER.gid, 0o755)
    mount = Mount(options, programs, calls, engines, compiler, owner)
    mount.add_devices()
    return mount


def _restore(mount: Mount, store: Store) -> ArrayStore | None:
    """Brings back what the state directory has; returns the store of arrays that are kept."""
    mount.programs.restore()
    restore_bindings(mount.programs, mount.quotas)
    if not mount.options.keep_arrays:
        return None
    array_store = ArrayStore(mount.calls.arrays, store.root / "arrays")
    array_store.restore(mount.calls.admission.pool(OWNER.uid))
    return array_store
