"""Child processes: start one and supervise it.

The parent starts a ``ChildProcess`` by exec, because a fork of a process with threads, locks or a
live JAX backend is broken.  It must do so from its first thread, trio's: "parent death" in prctl(2)
is the death of the *thread* that forked, and trio's own ``open_process`` forks in a worker thread,
which ends after ten seconds without work.  The child calls
``child_setup.die_with_parent`` at its start.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import trio

from jaxfs.posix.stderr_log import StderrLog

Message = TypeVar("Message")


class ChildProcess:
    """A process that was started here: awaited, ended and reaped here.

    It runs in a session of its own, so that a terminal's Ctrl-C does not reach it, with no standard
    input.  Of our descriptors it inherits only ``pass_fds``.

    Args:
        command: The program and its arguments.
        environment: All of the child's environment.
        pass_fds: Descriptors the child inherits, under the same numbers; the caller closes them.
        stderr_log: Takes what the child writes to standard output and error.  Without one the
            child writes to ours.

    Attributes:
        pid: The process id; valid until ``end`` has returned.

    Raises:
        OSError: The program cannot be started.

    >>> import trio
    >>> async def run(*command):
    ...     return await ChildProcess(command, {}).end(grace_s=10)
    >>> trio.run(run, "/bin/sh", "-c", "exit 3")
    3
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        pass_fds: Sequence[int] = (),
        stderr_log: StderrLog | None = None,
    ) -> None:
        self._stderr_log = stderr_log
        output = stderr_log.child_end if stderr_log is not None else None
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                pass_fds=pass_fds,
                start_new_session=True,
            )
        except OSError:
            self._close_log()
            raise
        finally:
            if output is not None:
                os.close(output)
        self.pid = self._popen.pid

    async def first_message(
        self, receive: Callable[[], Awaitable[Message]], timeout_s: float
    ) -> Message:
        """Returns the child's first message, by which it reports how its start went.

        Meanwhile what it writes is logged, so that a full pipe does not stop it.

        Args:
            receive: Waits for the message.
            timeout_s: Seconds after which the wait is given up.

        Raises:
            trio.TooSlowError: It came too late.
            Exception: What ``receive`` raises.
        """
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.log_stderr)
            try:
                with trio.fail_after(timeout_s):
                    message = await receive()
            except Exception as error:
                failure = error  # raised below: the nursery would wrap it in a group
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return message

    async def log_stderr(self) -> None:
        """Copies what the child writes to the log until it closes the pipe; returns without one."""
        if self._stderr_log is not None:
            await self._stderr_log.listen()

    def kill(self) -> None:
        """Sends SIGKILL, unless it has been reaped."""
        self._popen.kill()

    def terminate(self) -> None:
        """Sends SIGTERM, unless it has been reaped."""
        self._popen.terminate()

    async def end(self, *, grace_s: float = 0.0) -> int:
        """Ends and reaps the child, also in a cancelled scope, and returns its exit status.

        Args:
            grace_s: Seconds it has to end by itself before it is killed.

        Returns:
            The exit status, or minus the number of the signal that ended it.
        """
        with trio.CancelScope(shield=True):
            if grace_s:
                with trio.move_on_after(grace_s):
                    await self._reaped()
            self._popen.kill()
            await self._reaped()
        self._close_log()
        return self._popen.returncode

    async def _reaped(self) -> None:
        if self._popen.poll() is not None:
            return
        pidfd = os.pidfd_open(self.pid)
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        self._popen.wait()

    def _close_log(self) -> None:
        if self._stderr_log is not None:
            self._stderr_log.close()


def exit_status_text(status: int) -> str:
    """Returns an exit status in words.

    >>> exit_status_text(-11), exit_status_text(1)
    ('SIGSEGV', 'exit status 1')
    """
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
