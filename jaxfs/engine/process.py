"""Starting and ending the engine's process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import trio

from jaxfs.engine.identity import environment
from jaxfs.engine.protocol import Options, Ready, Reply, StartFailed
from jaxfs.engine.suspects import how
from jaxfs.errors import RunFailed
from jaxfs.wire.channel import AsyncChannel, Closed, pair

START_S = 120.0  # a cold file system and a slow driver included
TERM_S = 1.0
MALLOC = "glibc.malloc.hugetlb=1"  # XLA allocates outputs anew: 64 MiB take 5 ms instead of 20


class WorkerProcess:
    """One process of the engine and the channel to it."""

    def __init__(self, options: Options) -> None:
        ours, theirs = pair()
        try:
            self._popen = _spawn(theirs.fileno(), options)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.channel: AsyncChannel[Reply] = AsyncChannel(ours, Reply)
        self.pid = self._popen.pid

    async def ready(self) -> Ready:
        """Wait until it serves.  Raises RunFailed with its reason where it does not."""
        message: object = None
        with trio.move_on_after(START_S):
            try:
                message, _ = await self.channel.receive()
            except Closed:
                raise RunFailed(
                    f"the engine ended while starting: {how(await self.end())}"
                ) from None
        if isinstance(message, Ready):
            return message
        if isinstance(message, StartFailed):
            raise RunFailed(f"the engine cannot start: {message.reason}", message.diagnostics)
        raise RunFailed(f"the engine was not ready after {START_S:.0f} s")

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
        return self._popen.returncode

    async def _gone(self) -> None:
        if self._popen.poll() is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
            self._popen.wait()


def _spawn(fd: int, options: Options) -> subprocess.Popen[bytes]:
    """Exec, from this thread: the kernel's parent-death signal goes by thread, not by process.

    ``-P`` keeps the working directory off the module path; a session of its own keeps a terminal's
    Ctrl-C away from it.
    """
    ours = os.environ if options.user is None else environment(options.user)
    words = [sys.executable, "-P", "-m", "jaxfs.engine.worker", str(fd)]
    return subprocess.Popen(
        [*words, msgspec.json.encode(options).decode()],
        stdin=subprocess.DEVNULL,
        env={"GLIBC_TUNABLES": MALLOC, **ours},
        pass_fds=[fd],
        start_new_session=True,
    )
