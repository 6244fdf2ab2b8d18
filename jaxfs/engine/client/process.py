"""Starts and ends the worker's process."""

from __future__ import annotations

import contextlib
import os
import sys

import msgspec
import trio

from jaxfs.engine.protocol import EngineOptions, Ready, Reply, StartFailed
from jaxfs.errors import JaxfsError, RunFailed, from_os_error
from jaxfs.ipc.channel import AsyncChannel, Closed, pair
from jaxfs.posix.child_process import ChildProcess, exit_status_text
from jaxfs.posix.device_selection import with_options
from jaxfs.posix.privileges import environment
from jaxfs.posix.stderr_log import StderrLog

START_S = 120.0  # a cold file system and a slow driver included
TERM_S = 1.0
STARTS = 3  # that fail in a row before the engine counts as failed
PAUSE_S = 0.1  # between them
COMMAND = (sys.executable, "-P", "-m", "jaxfs.engine.worker.main")  # -P: not from where we are
COMMAND_OF_USER = (*COMMAND[:-1], "jaxfs.engine.worker.user_main")
MALLOC = "glibc.malloc.hugetlb=1"  # XLA allocates outputs anew: 64 MiB take 5 ms instead of 20


class WorkerProcess:
    """One process of the engine, and the channel to it.

    A worker that runs as a user of its own gets a small environment, and a pipe to the log instead
    of our stderr.

    Attributes:
        channel: Requests to the worker, and its replies.
        pid: The process id.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, options: EngineOptions) -> None:
        user = options.user
        inherited = os.environ if user is None else environment(user)
        front_end, worker_end = pair()
        arguments = (str(worker_end.fileno()), msgspec.json.encode(options).decode())
        try:
            self._child = ChildProcess(
                [*(COMMAND if user is None else COMMAND_OF_USER), *arguments],
                {"GLIBC_TUNABLES": MALLOC, **with_options(inherited, options.selection)},
                pass_fds=[worker_end.fileno()],
                stderr_log=StderrLog(user.uid) if user is not None else None,
            )
        except OSError:
            front_end.close()
            raise
        finally:
            worker_end.close()
        self.channel: AsyncChannel[Reply] = AsyncChannel(front_end, Reply)
        self.pid = self._child.pid

    async def ready(self) -> Ready:
        """Waits until the worker has started JAX, and returns what it reports.

        Raises:
            RunFailed: It ended, it cannot start, or it took too long.
        """
        try:
            message, _ = await self._child.first_message(self.channel.receive, START_S)
        except (Closed, msgspec.MsgspecError):
            status = exit_status_text(await self.end())
            raise RunFailed(f"the engine ended while starting: {status}") from None
        except trio.TooSlowError:
            message = None
        if isinstance(message, Ready):
            return message
        if isinstance(message, StartFailed):
            raise RunFailed(f"the engine cannot start: {message.reason}", message.diagnostics)
        raise RunFailed(f"the engine was not ready after {START_S:.0f} s")

    def kill(self) -> None:
        """Ends the process; the channel closes."""
        self._child.kill()

    async def end(self, *, terminate_first: bool = False) -> int:
        """Ends the process, waits for its end and closes the channel.

        Args:
            terminate_first: Whether it gets SIGTERM, and a second to end by itself.

        Returns:
            The exit status, or minus the number of the signal that ended it.
        """
        if terminate_first:
            self._child.terminate()
        status = await self._child.end(grace_s=TERM_S if terminate_first else 0.0)
        self.channel.close()
        return status

    async def log_stderr(self) -> None:
        """Copies what a user's worker writes to the log, until it ends."""
        await self._child.log_stderr()


async def start_worker(options: EngineOptions) -> tuple[WorkerProcess, Ready]:
    """Starts a worker after at most ``STARTS`` attempts, ``PAUSE_S`` apart.

    Returns:
        The process, and what it reports when it is up.

    Raises:
        JaxfsError: The last attempt failed, with its reason.
    """
    for _ in range(STARTS - 1):
        with contextlib.suppress(JaxfsError):
            return await _start_once(options)
        await trio.sleep(PAUSE_S)
    return await _start_once(options)


async def _start_once(options: EngineOptions) -> tuple[WorkerProcess, Ready]:
    try:
        process = WorkerProcess(options)
    except OSError as error:
        raise from_os_error(error, "starting the engine") from error
    try:
        return process, await process.ready()
    except BaseException:
        await process.end()
        raise
