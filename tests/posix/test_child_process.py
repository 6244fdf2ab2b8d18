"""A supervised child: its first message, its stderr, its end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio

from jaxfs.ipc.channel import AsyncChannel, Closed, pair
from jaxfs.posix.child_process import ChildProcess, exit_status_text
from jaxfs.posix.stderr_log import StderrLog
from tests.conftest import closing_descriptors

UID = 20001
SLEEP = "exec sleep 600"


def shell(
    script: str, *, pass_fds: Sequence[int] = (), stderr_log: StderrLog | None = None
) -> ChildProcess:
    command, environment = ["/bin/sh", "-c", script], {"PATH": os.environ["PATH"]}
    return ChildProcess(command, environment, pass_fds=pass_fds, stderr_log=stderr_log)


def within_60_s(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        with trio.fail_after(60):
            await test()

    trio.run(main, strict_exception_groups=True)


def test_end_returns_the_exit_status_or_the_signal() -> None:
    async def test() -> None:
        assert await shell("exit 3").end(grace_s=60) == 3
        assert await shell(SLEEP).end() == -signal.SIGKILL
        terminated = shell(SLEEP)
        terminated.terminate()
        assert await terminated.end(grace_s=60) == -signal.SIGTERM

    within_60_s(test)


def test_end_reaps_also_in_a_cancelled_scope() -> None:
    async def test() -> None:
        child = shell(SLEEP)
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.end()
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)

    within_60_s(test)


def test_first_message_that_never_comes_is_too_slow() -> None:
    async def test() -> None:
        child = shell(SLEEP)
        with pytest.raises(trio.TooSlowError):
            await child.first_message(trio.sleep_forever, 0.01)
        await child.end()

    within_60_s(test)


def test_child_that_ends_without_a_message_closes_the_channel() -> None:
    async def test() -> None:
        ours, theirs = pair()
        channel: AsyncChannel[int] = AsyncChannel(ours, int)
        with theirs:
            child = shell("exit 1", pass_fds=[theirs.fileno()])
        with pytest.raises(Closed):
            await child.first_message(channel.receive, 60)
        assert await child.end() == 1
        channel.close()

    within_60_s(test)


def test_stderr_is_logged_while_the_first_message_is_awaited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        ours, theirs = pair()
        channel: AsyncChannel[int] = AsyncChannel(ours, int)
        with theirs:  # more than a pipe holds: it ends only if it is read
            script = "head -c 200000 /dev/zero | tr '\\0' '\\n' >&2; echo end >&2"
            child = shell(script, pass_fds=[theirs.fileno()], stderr_log=StderrLog(UID))
        with pytest.raises(Closed):
            await child.first_message(channel.receive, 60)
        assert await child.end(grace_s=60) == 0
        channel.close()

    caplog.set_level(logging.INFO)
    within_60_s(test)
    assert caplog.messages == [f"the engine of uid {UID} says: end"]


def test_program_that_does_not_exist_leaves_nothing_open() -> None:
    with closing_descriptors(), pytest.raises(FileNotFoundError):
        ChildProcess(["/no/such/program"], {}, stderr_log=StderrLog(UID))


def test_child_has_a_session_of_its_own_and_no_input() -> None:
    async def test() -> None:
        child = shell("read -r line && exit 1; exec sleep 600")
        assert os.getsid(child.pid) == child.pid
        await child.end()

    within_60_s(test)


def test_exit_status_in_words() -> None:
    assert [exit_status_text(status) for status in (1, -11, -99)] == [
        "exit status 1",
        "SIGSEGV",
        "signal 99",
    ]
