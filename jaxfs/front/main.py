"""The daemon: puts the parts of a mount together and takes them apart.

It is started with one JSON document (``Launch``) and says on ``ready_fd``, in one JSON line, either
that the mount answers and the engine is up, or why not.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from jaxfs.arrays.bindings import restore_bindings
from jaxfs.arrays.persistence import ArrayStore
from jaxfs.calls.call import Call
from jaxfs.calls.call_registry import Calls
from jaxfs.compiler.client.client import open_compiler
from jaxfs.engine import protocol
from jaxfs.engine.client.engines import open_per_user, open_shared
from jaxfs.engine.interface import Engines
from jaxfs.errors import Invalid, JaxfsError, RunFailed
from jaxfs.front import logs, systemd
from jaxfs.fuse import session
from jaxfs.fuse.operations import Filesystem
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.builder import Builder
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.program_registry import Programs
from jaxfs.programs.store import Store
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.vfs import Vfs

log = logging.getLogger(__package__)
START_FAILED = 1  # exit code
TRIM_S = 5.0
FRONT_NICENESS = -10


class Launch(msgspec.Struct, frozen=True):
    """How to start: absolute paths; ``ready_fd`` is written once and closed.

    ``session_fd`` is /dev/fuse where somebody else has mounted it on the mount point, or -1.
    """

    mountpoint: str
    state_dir: str
    options: Options
    ready_fd: int
    session_fd: int = -1


class ReadyPipe:
    """Says once, on a descriptor, how the start went."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._began = time.monotonic()

    def ready(self, engine: str) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        self._say({"ready": True, "pid": os.getpid(), "engine": engine, "seconds": seconds})
        systemd.notify("READY=1", f"STATUS={engine}")

    def failed(self, reason: str, diagnostics: str = "") -> None:
        self._say({"error": reason, "diagnostics": diagnostics, "exit_code": START_FAILED})

    def _say(self, words: dict[str, object]) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, msgspec.json.encode(words) + b"\n")
        except OSError as error:  # whoever started us did not wait
            log.warning("nobody heard how the start went: %s", error)
        finally:
            os.close(self._fd)
            self._fd = -1


def main(document: str) -> int:
    """Run the daemon until it is unmounted; returns the exit code."""
    launch = msgspec.json.decode(document, type=Launch)
    logs.configure(launch.options, launch.mountpoint, Path(launch.state_dir))
    for fd in (launch.ready_fd, launch.session_fd):
        if fd >= 0:
            os.set_inheritable(fd, False)
    _allow_many_files()
    herald = ReadyPipe(launch.ready_fd)
    try:
        trio.run(_run, launch, herald)
    except BaseException as error:
        told = _first_reason(error)
        log.exception("the daemon ends: %s", told, exc_info=not isinstance(told, JaxfsError))
        herald.failed(str(told), getattr(told, "diagnostics", ""))
        return START_FAILED
    return 0


def _allow_many_files() -> None:
    """Results are memfds: as many descriptors as the system allows us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _first_reason(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(launch: Launch, herald: ReadyPipe) -> None:
    try:
        store = Store(Path(launch.state_dir))
    except OSError as error:
        raise RunFailed(
            f"the state directory {launch.state_dir} cannot be used: {error}"
        ) from error
    try:
        async with trio.open_nursery() as nursery, _system(launch, store, nursery) as system:
            await _serve(launch, system, nursery, herald)
            nursery.cancel_scope.cancel()
    finally:
        store.close()


@asynccontextmanager
async def _system(launch: Launch, store: Store, nursery: trio.Nursery) -> AsyncIterator[Mount]:
    options = launch.options
    async with (
        open_compiler(deadline_s=options.compile_timeout) as tracer,
        open_engines(options) as engines,
    ):
        if options.zygote == "eager":
            nursery.start_soon(tracer.start)
        pickles = PicklePolicy(options.pickle, os.getuid(), tracer)
        builder = Builder(store, tracer, engines, pickles, nursery)
        programs = Programs(builder, nursery)

        def failed(call: Call, error: JaxfsError) -> None:
            caller = Credentials(call.attr.uid, call.attr.gid)
            system.note(caller, f"results/{call.id}", error)

        calls = Calls(engines, programs.derivations, options, failed, nursery)
        meta = InodeAttr(os.getuid(), os.getgid(), 0o755)
        system = Mount(options, programs, calls, engines, tracer, meta)
        system.add_devices()
        programs.restore()
        restore_bindings(programs)
        if options.keep_arrays:
            keeper = ArrayStore(calls.arrays, store.root / "arrays")
            keeper.restore(calls.admission.pool(os.getuid()))
            nursery.start_soon(keeper.run)
        yield system
        if options.keep_arrays:
            with trio.CancelScope(shield=True):
                await keeper.save()


def open_engines(options: Options) -> AbstractAsyncContextManager[Engines]:
    """The engines a mount with these options has.  Raises Invalid where it cannot have them."""
    wanted = protocol.EngineOptions(platform=options.platform or "", devices=options.devices or 0)
    if options.engine == "shared":
        return open_shared(wanted)
    if os.getuid() != 0:
        raise Invalid(
            "-o engine=per-user needs a mount by root: nobody else may start processes of others"
        )
    return open_per_user(wanted, os.getuid(), options.engine_idle)


async def _serve(launch: Launch, system: Mount, nursery: trio.Nursery, herald: ReadyPipe) -> None:
    options = session.mount_options(launch.options)
    filesystem = Filesystem(Vfs(system), nursery)
    with session.mounted(filesystem, launch.mountpoint, options, launch.session_fd) as mount:
        nursery.start_soon(_stop_on_signal, mount)
        nursery.start_soon(_reload_on_signal, Path(launch.state_dir))
        nursery.start_soon(_trim, system.engines)
        _come_first()
        gc.freeze()  # what is there now stays; looking through it again and again is for nothing
        nursery.start_soon(_announce, launch, system, herald)
        await mount.serve()


async def _announce(launch: Launch, system: Mount, herald: ReadyPipe) -> None:
    """Ready is: a stat through the mount answers, and the engine is up."""
    if not await session.is_answering(launch.mountpoint):
        raise RunFailed(f"{launch.mountpoint} does not show the new mount")
    herald.ready(_describe(system.engines))
    log.info("serving %s", launch.mountpoint)


def _describe(engines: Engines) -> str:
    names = " ".join(device.name for device in engines.devices())
    return f"{engines.toolchain} on {names}"


def _come_first() -> None:
    """Every file operation waits for this process, and it never computes: where root runs it, it
    gets its turn before who does.  The engine and compiles set their own priority."""
    with contextlib.suppress(PermissionError):
        os.nice(FRONT_NICENESS)


async def _trim(engines: Engines) -> None:
    """Give memory that is not in use back to the system, some time after the last use."""
    while True:
        await trio.sleep(TRIM_S)
        for engine in engines.all():
            engine.pool.trim()


async def _stop_on_signal(mount: session.Session) -> None:
    """In order at the first signal; a second one finds its default action, and ends us at once."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            systemd.notify("STOPPING=1")
            mount.stop()
            return


async def _reload_on_signal(state_dir: Path) -> None:
    """SIGHUP, as daemons have it; whose terminal goes away is told by mountctl, in front of it."""
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            systemd.notify_reloading()
            log.info("the log level is %s", logs.reload(state_dir))
            systemd.notify("READY=1")
