"""Starting and ending the engine's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import trio

from jaxfs.engine.client.quarantine import exit_status_text
from jaxfs.engine.protocol import EngineOptions, Ready, Reply, StartFailed
from jaxfs.errors import RunFailed
from jaxfs.ipc.channel import AsyncChannel, Closed, pair
from jaxfs.posix.privileges import environment
from jaxfs.posix.stderr_log import StderrLog

START_S = 120.0  # a cold file system and a slow driver included
TERM_S = 1.0
COMMAND = (sys.executable, "-P", "-m", "jaxfs.engine.worker.main")
COMMAND_OF_USER = (*COMMAND[:-1], "jaxfs.engine.worker.user_main")
MALLOC = "glibc.malloc.hugetlb=1"  # XLA allocates outputs anew: 64 MiB take 5 ms instead of 20


class WorkerProcess:
    """One process of the engine and the channel to it."""

    def __init__(self, options: EngineOptions) -> None:
        ours, theirs = pair()
        self.words = StderrLog(options.user.uid) if options.user is not None else None
        output = None if self.words is None else self.words.theirs
        try:
            self._popen = _spawn(theirs.fileno(), options, output)
        except OSError:
            ours.close()
            self._close_words()
            raise
        finally:
            theirs.close()
            if output is not None:
                os.close(output)
        self.channel: AsyncChannel[Reply] = AsyncChannel(ours, Reply)
        self.pid = self._popen.pid

    async def ready(self) -> Ready:
        """Wait until it serves.  Raises RunFailed with its reason where it does not."""
        message = await self._first_message()
        if isinstance(message, Ready):
            return message
        if isinstance(message, Closed | msgspec.MsgspecError):
            raise RunFailed(
                f"the engine ended while starting: {exit_status_text(await self.end())}"
            )
        if isinstance(message, StartFailed):
            raise RunFailed(f"the engine cannot start: {message.reason}", message.diagnostics)
        raise RunFailed(f"the engine was not ready after {START_S:.0f} s")

    async def _first_message(self) -> object:
        """What it says, the error where that is none, or None where it takes too long."""
        message: object = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen)
            with trio.move_on_after(START_S):
                try:
                    message, _ = await self.channel.receive()
                except (Closed, msgspec.MsgspecError) as error:
                    message = error
            nursery.cancel_scope.cancel()
        return message

    def kill(self) -> None:
        """End it now; the channel closes."""
        self._popen.kill()

    async def end(self, *, terminate_first: bool = False) -> int:
        """End it, wait for its end, and return the exit status (minus the signal)."""
        with trio.CancelScope(shield=True):
            if terminate_first:
                self._popen.send_signal(signal.SIGTERM)
                with trio.move_on_after(TERM_S):
                    await self._gone()
            self._popen.kill()
            await self._gone()
        self.channel.close()
        self._close_words()
        return self._popen.returncode

    async def listen(self) -> None:
        """Have what it writes to its stderr in the log, where that is not its own log too."""
        if self.words is not None:
            await self.words.listen()

    def _close_words(self) -> None:
        if self.words is not None:
            self.words.close()

    async def _gone(self) -> None:
        if self._popen.poll() is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            self._popen.wait()


def _spawn(fd: int, options: EngineOptions, output: int | None) -> subprocess.Popen[bytes]:
    """Exec, from this thread: the kernel's parent-death signal goes by thread, not by process.

    ``-P`` keeps the working directory off the module path; a session of its own keeps a terminal's
    Ctrl-C away from it.  ``output`` takes what it writes, instead of our stderr.
    """
    ours = os.environ if options.user is None else environment(options.user)
    command = COMMAND if options.user is None else COMMAND_OF_USER
    return subprocess.Popen(
        [*command, str(fd), msgspec.json.encode(options).decode()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={"GLIBC_TUNABLES": MALLOC, **ours},
        pass_fds=[fd],
        start_new_session=True,
    )
