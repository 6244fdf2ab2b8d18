"""The daemon: puts the parts of a mount together and takes them apart.

It is started with one JSON document (``Launch``) and writes to ``ready_fd`` one JSON line: that the
mount answers and the engine is up, or why not.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import trio

from jaxfs.arrays.bindings import restore_bindings
from jaxfs.arrays.persistence import ArrayStore
from jaxfs.calls.admission import quotas_of
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
from jaxfs.posix import device_selection
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs.builder import Builder
from jaxfs.programs.pickle_policy import PicklePolicy
from jaxfs.programs.program import SourceProgram
from jaxfs.programs.program_registry import Programs
from jaxfs.programs.state_folders import remove_compile_caches
from jaxfs.programs.store import Store
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.vfs import Vfs

log = logging.getLogger(__package__)
START_FAILED = 1  # exit code
TRIM_S = 5.0
COMMIT_GRACE_S = 3.0  # for what processes wrote that exited right before the unmount
FRONT_NICENESS = -10
AUTOGROUP = Path("/proc/self/autogroup")  # sched(7); it is there if the kernel has autogroups
# Of threads that parse and pack arrays: the event loop has to get the interpreter back from them
# after each wait, which takes Python's 5 ms otherwise, and that several times for one request.
SWITCH_S = 0.0005


class Launch(msgspec.Struct, frozen=True):
    """How to start.

    Attributes:
        mountpoint: An absolute path.
        state_dir: An absolute path.
        options: Of the mount.
        ready_fd: Written to once and closed; -1 for none.
        session_fd: /dev/fuse if another process has mounted it on the mount point, or -1.
        new_session: Whether to leave the process group that it was started in, for a session of
            its own (setsid(2)), once the mount answers.
    """

    mountpoint: str
    state_dir: str
    options: Options
    ready_fd: int
    session_fd: int = -1
    new_session: bool = False


class ReadyPipe:
    """Reports once how the start went, to the process at the other end of descriptor ``fd``."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._began = time.monotonic()

    def ready(self, engine: str) -> None:
        """Reports, to systemd too, that the mount is served; ``engine`` describes the devices."""
        seconds = round(time.monotonic() - self._began, 3)
        self._write({"ready": True, "pid": os.getpid(), "engine": engine, "seconds": seconds})
        systemd.notify("READY=1", f"STATUS={engine}")

    def failed(self, reason: str, diagnostics: str = "") -> None:
        """Reports that the start failed; does nothing after ``ready``."""
        self._write({"error": reason, "diagnostics": diagnostics, "exit_code": START_FAILED})

    def _write(self, report: dict[str, object]) -> None:
        if self._fd < 0:
            return
        try:
            os.write(self._fd, msgspec.json.encode(report) + b"\n")
        except OSError as error:  # the process that started us did not wait
            log.warning("how the start went could not be reported: %s", error)
        finally:
            os.close(self._fd)
            self._fd = -1


def main(document: str) -> int:
    """Runs the daemon until it is unmounted, and returns the exit code.

    Args:
        document: A ``Launch`` as JSON.
    """
    launch = msgspec.json.decode(document, type=Launch)
    logs.configure(launch.options, launch.mountpoint, Path(launch.state_dir))
    for fd in (launch.ready_fd, launch.session_fd):
        if fd >= 0:
            os.set_inheritable(fd, False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # results are memfds
    ready_pipe = ReadyPipe(launch.ready_fd)
    try:
        trio.run(_run, launch, ready_pipe)
    except BaseException as error:
        cause = _first_cause(error)
        log.exception("the daemon ends: %s", cause, exc_info=not isinstance(cause, JaxfsError))
        ready_pipe.failed(str(cause), cause.diagnostics if isinstance(cause, JaxfsError) else "")
        return START_FAILED
    return 0


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(launch: Launch, ready_pipe: ReadyPipe) -> None:
    try:
        store = Store(Path(launch.state_dir))
    except OSError as error:
        raise RunFailed(
            f"the state directory {launch.state_dir} cannot be used: {error}"
        ) from error
    try:
        async with trio.open_nursery() as nursery, _open_mount(launch, store, nursery) as mount:
            await _serve(launch, mount, nursery, ready_pipe)
            nursery.cancel_scope.cancel()
    finally:
        store.close()


@asynccontextmanager
async def _open_mount(launch: Launch, store: Store, nursery: trio.Nursery) -> AsyncIterator[Mount]:
    """Puts compiler, engines, programs and calls together, with what the state directory has."""
    options = launch.options
    async with (
        open_compiler(deadline_s=options.compile_timeout) as compiler,
        open_engines(options, store.root) as engines,
    ):
        if options.zygote == "eager":
            nursery.start_soon(compiler.start)
        pickles = PicklePolicy(options.pickle, os.getuid(), compiler)
        quotas = quotas_of(options)
        builder = Builder(store, quotas, compiler, engines, pickles, nursery, options)

        def note_build(program: SourceProgram, error: JaxfsError) -> None:
            owner = Credentials(program.attr.uid, program.attr.gid)
            mount.note(owner, f"programs/{program.source_name}", error)

        programs = Programs(builder, quotas, nursery, note_build)

        def note_failure(call: Call, error: JaxfsError) -> None:
            caller = Credentials(call.attr.uid, call.attr.gid)
            mount.note(caller, f"results/{call.id}", error)

        calls = Calls(engines, programs.derivations, options, quotas, note_failure, nursery)
        compiler.slots.quotas = quotas
        root_attr = InodeAttr(os.getuid(), os.getgid(), 0o755)
        mount = Mount(options, programs, calls, engines, compiler, root_attr)
        mount.add_devices()
        programs.restore()
        owners = {program.attr.uid for program in programs}
        remove_compile_caches(store.root, {os.getuid(), *owners})
        restore_bindings(programs, quotas)
        if options.keep_arrays:
            array_store = ArrayStore(calls.arrays, store.root / "arrays")
            array_store.restore(calls.admission.pool(os.getuid()))
            nursery.start_soon(array_store.run)
        yield mount
        if options.keep_arrays:
            with trio.CancelScope(shield=True):
                await array_store.save()


def open_engines(options: Options, state_dir: Path) -> AbstractAsyncContextManager[Engines]:
    """Returns the engines of a mount with these options, to be entered as a context.

    Args:
        options: Of the mount.
        state_dir: Where workers keep what they compile themselves.

    Raises:
        Invalid: Only root can have them, or there are no such devices.
    """
    selection = device_selection.Selection.of(options)
    device_selection.check(selection)
    wanted = protocol.EngineOptions(
        platform=selection.platform,
        devices=selection.devices,
        visible_devices=selection.visible,
        memory_fraction=selection.memory_fraction,
        preallocate=selection.preallocate,
        cache_dir=str(state_dir.absolute()),
    )
    if options.engine == "shared":
        return open_shared(wanted)
    if os.getuid() != 0:
        raise Invalid(
            "-o engine=per-user needs a mount by root: nobody else may start processes of others"
        )
    return open_per_user(wanted, os.getuid(), options.engine_idle)


async def _serve(
    launch: Launch, mount: Mount, nursery: trio.Nursery, ready_pipe: ReadyPipe
) -> None:
    options = session.mount_options(launch.options)
    filesystem = Filesystem(Vfs(mount), nursery)
    with session.mounted(filesystem, launch.mountpoint, options, launch.session_fd) as served:
        nursery.start_soon(_stop_on_signal, served)
        nursery.start_soon(_reload_on_signal, Path(launch.state_dir))
        nursery.start_soon(_trim, mount.engines)
        raise_priority()
        sys.setswitchinterval(SWITCH_S)
        gc.freeze()  # what is there now stays; looking through it again and again is for nothing
        nursery.start_soon(_announce, launch, mount.engines, ready_pipe)
        await served.serve()
    with trio.move_on_after(COMMIT_GRACE_S):
        await mount.calls.commits.settle_all()


async def _announce(launch: Launch, engines: Engines, ready_pipe: ReadyPipe) -> None:
    """Reports that we are ready: a stat through the mount answers, and the engine is up.

    Until then we are in the process group of mount(8).  autofs lets only the automounter's group
    walk to a mount point that it waits for: from a session of our own, mount(2) and stat(2) would
    wait for the end of the very mount they are part of.  After it no path to the mount is walked.
    """
    if not await session.is_answering(launch.mountpoint):
        raise RunFailed(f"{launch.mountpoint} does not show the new mount")
    if launch.new_session:
        os.setsid()
    raise_session_priority()
    names = " ".join(device.name for device in engines.devices())
    ready_pipe.ready(f"{engines.toolchain} on {names}")
    log.info("serving %s", launch.mountpoint)


def raise_priority() -> None:
    """Lets the calling thread, which runs the event loop, run before clients, if root runs it.

    Every file operation waits for it, and it never computes.  The threads that it starts, which
    parse and copy what users wrote, and its child processes have niceness 0 again.
    """
    with contextlib.suppress(PermissionError):
        policy = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(0))
        os.nice(FRONT_NICENESS)


def raise_session_priority(autogroup: Path = AUTOGROUP) -> None:
    """Lets the session of this process run before others, if it leads one and root runs it.

    Where the kernel has autogroups it shares the time out between sessions, and niceness counts
    only among the processes of one.  The front has a session of its own, as each worker has.  In
    the foreground it is in that of a terminal, which stays as it is.

    Args:
        autogroup: The file of sched(7) that takes the niceness of a session.
    """
    if os.getsid(0) != os.getpid():
        return
    with contextlib.suppress(OSError):
        autogroup.write_text(str(FRONT_NICENESS))


async def _trim(engines: Engines) -> None:
    """Gives unused memory back to the system, some time after its last use."""
    while True:
        await trio.sleep(TRIM_S)
        for pool in {engine.pool for engine in engines.all()}:
            pool.trim()


async def _stop_on_signal(served: session.Session) -> None:
    """Unmounts in order at the first signal; a second one has its default action: it ends us."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: unmounting", signal.Signals(number).name)
            systemd.notify("STOPPING=1")
            served.stop()
            return


async def _reload_on_signal(state_dir: Path) -> None:
    """Reads the log level again at SIGHUP, as daemons do.

    In the foreground it may also be the end of the terminal; mountctl handles that.
    """
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        async for _ in signals:
            systemd.notify_reloading()
            log.info("the log level is %s", logs.reload(state_dir))
            systemd.notify("READY=1")
