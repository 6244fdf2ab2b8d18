"""A signal ends every wait; a signal that ends no process harms none.

A real mount and real signals.  How long it took from the signal to the end of the process is
kept in docs/reports/signals.md; it decides nothing: a process that does not end hangs for ever.
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from jaxfs.fuse import interrupts
from jaxfs.testing import eventually

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs/reports/signals.md"
KINDS = ("open", "read", "write", "flush", "rename")
DEADLY = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGKILL")
DEFAULT_IGNORED = ("SIGURG", "SIGWINCH", "SIGCHLD")
HANGS_S = 20.0
INTERRUPTED = 4  # the waiter's exit status after EINTR

pytestmark = pytest.mark.skipif(
    not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse"
)
built = pytest.mark.skipif(
    importlib.util.find_spec("jaxfs.fuse._interrupts") is None,
    reason="jaxfs.fuse._interrupts is not built (pip install -e .)",
)


class Mount:
    """The filesystem of waiting_fs.py in a process of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.daemon = script("waiting_fs.py", directory, *options, stdin=subprocess.PIPE)
        self.reason = self.line().removeprefix("mounted").strip()

    def line(self) -> str:
        return line_of(self.daemon)

    @contextmanager
    def waiter(
        self, kind: str, disposition: str = "default", way: str = "call"
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process that waits in ``kind``."""
        path = self.directory / kind
        with self.ending(script("waiter.py", kind, path, disposition, way)) as process:
            self.expect_waiting(kind, process.pid if way != "thread" else None)
            yield process

    @contextmanager
    def ending(self, process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        """``process``, which ends in the end, even where the code under test is broken."""
        try:
            yield process
        finally:
            if process.poll() is None:
                self.release()
            kill(process)

    def expect_waiting(self, kind: str, pid: int | None = None) -> None:
        word, found, thread = self.line().split()
        assert (word, found) == ("waiting", kind)
        assert pid is None or int(thread) == pid

    def release(self) -> None:
        os.write(opened(self.daemon.stdin).fileno(), b"\n")

    def settle(self, pid: int) -> None:
        """Return when the daemon has read the interrupt of ``pid``.

        A process that has sent one sleeps uninterruptibly; the kernel hands interrupts out
        before other requests, so after one more request the daemon has read it.
        """
        eventually(lambda: state_of(pid) == "D", message="the process sent no interrupt")
        os.stat(self.directory / "quick")

    def close(self) -> None:
        opened(self.daemon.stdin).close()
        try:
            assert self.daemon.wait(60) == 0
        finally:
            kill(self.daemon)
            subprocess.run(["umount", "-l", self.directory], capture_output=True, check=False)


def script(
    name: str, *args: object, stdin: int | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    env = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
    command = [sys.executable, str(HERE / name), *map(str, args)]
    return subprocess.Popen(
        command, env=env, stdin=stdin, stdout=subprocess.PIPE, pass_fds=pass_fds
    )


def opened(pipe: IO[bytes] | None) -> IO[bytes]:
    """The pipe, which `script` has made: Popen has None for a stream without one."""
    assert pipe is not None
    return pipe


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    opened(process.stdout).close()


def line_of(process: subprocess.Popen[bytes]) -> str:
    readable, _, _ = select.select([opened(process.stdout)], [], [], 20)
    assert readable, "the process says nothing"
    return os.read(opened(process.stdout).fileno(), 4096).decode().strip()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def end_of(process: subprocess.Popen[bytes]) -> int:
    """The exit status; fails where the process does not end."""
    watch = os.pidfd_open(process.pid)
    try:
        ended, _, _ = select.select([watch], [], [], HANGS_S)
    finally:
        os.close(watch)
    assert ended, f"still in state {state_of(process.pid)}"
    return process.wait()


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[tuple[str, str], float]]:
    """Milliseconds from signal to end, by (signal, kind); kept where JAXFS_UPDATE_DOCS is set."""
    table: dict[tuple[str, str], float] = defaultdict(float)
    yield table
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document(table))


def document(table: dict[tuple[str, str], float]) -> str:
    """The signal matrix."""
    rows = [
        f"| {name} | " + " | ".join(f"{table[name, kind]:.1f}" for kind in KINDS) + " |"
        for name in DEADLY
    ]
    return "\n".join(
        [
            "# Signals",
            "",
            "Milliseconds from a signal to the end of a process that waits in a system call on a",
            "mount, one measurement each, made by",
            "`JAXFS_UPDATE_DOCS=1 python -m pytest tests/fuse/test_interrupts.py`. The same tests",
            "hold that threads, inherited descriptors, pipelines and Python's handlers end too,",
            "and that SIGSTOP, SIGCONT, SIGURG, SIGWINCH, SIGCHLD and ignored ones do no harm.",
            "",
            "| signal | " + " | ".join(KINDS) + " |",
            "|---|" + "---|" * len(KINDS),
            *rows,
            "",
        ]
    )


@pytest.fixture(scope="module")
def mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    mounted = Mount(tmp_path_factory.mktemp("waiting"))
    yield mounted
    mounted.close()


@pytest.fixture(scope="module")
def fallback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A daemon that could not load the C library in time."""
    mounted = Mount(tmp_path_factory.mktemp("fallback"), "late")
    yield mounted
    mounted.close()


@built
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DEADLY)
def test_waiting_process_ends_on_deadly_signal(
    mount: Mount, figures: dict[tuple[str, str], float], kind: str, name: str
) -> None:
    with mount.waiter(kind) as process:
        began = time.perf_counter()
        process.send_signal(getattr(signal, name))
        status = end_of(process)
        figures[name, kind] = (time.perf_counter() - began) * 1e3
    assert status == -getattr(signal, name)


@built
@pytest.mark.parametrize("kind", KINDS)
def test_stopped_and_continued_process_gets_its_data(mount: Mount, kind: str) -> None:
    with mount.waiter(kind) as process:
        process.send_signal(signal.SIGSTOP)
        mount.settle(process.pid)
        process.send_signal(signal.SIGCONT)
        mount.release()
        assert end_of(process) == 0


@built
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("disposition", ["default", "handled"])
def test_harmless_signals_do_no_harm(mount: Mount, kind: str, disposition: str) -> None:
    with mount.waiter(kind, disposition) as process:
        for name in DEFAULT_IGNORED:
            process.send_signal(getattr(signal, name))
        if disposition == "handled":
            mount.settle(process.pid)
        mount.release()
        assert end_of(process) == 0


@built
@pytest.mark.parametrize("kind", KINDS)
def test_ignored_sigint_does_no_harm(mount: Mount, kind: str) -> None:
    with mount.waiter(kind, "ignored") as process:
        process.send_signal(signal.SIGINT)
        mount.release()
        assert end_of(process) == 0


@built
@pytest.mark.parametrize("kind", KINDS)
def test_handled_signal_ends_the_call_with_eintr(mount: Mount, kind: str) -> None:
    with mount.waiter(kind, "handled") as process:
        process.send_signal(signal.SIGUSR1)
        assert end_of(process) == INTERRUPTED


@built
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_stopped_process_still_ends_on_deadly_signal(mount: Mount, name: str) -> None:
    """The kernel interrupts a request only once, and SIGSTOP has used that up."""
    with mount.waiter("read") as process:
        process.send_signal(signal.SIGSTOP)
        mount.settle(process.pid)
        process.send_signal(getattr(signal, name))
        process.send_signal(signal.SIGCONT)
        assert end_of(process) == -getattr(signal, name)


@built
def test_signal_that_came_before_the_wait_ends_it(mount: Mount) -> None:
    with mount.waiter("busy") as process:
        process.send_signal(signal.SIGTERM)
        mount.settle(process.pid)
        mount.release()
        assert end_of(process) == -signal.SIGTERM


@built
def test_handler_runs_before_python_retries(mount: Mount) -> None:
    with mount.waiter("open", "handled", "retry") as process:
        process.send_signal(signal.SIGUSR1)
        assert line_of(process) == f"handled {signal.SIGUSR1.value}"
        mount.expect_waiting("open", process.pid)
        mount.release()
        assert end_of(process) == 0


@built
@pytest.mark.parametrize("name", ["SIGTERM", "SIGQUIT", "SIGKILL"])
def test_process_ends_while_another_thread_waits(mount: Mount, name: str) -> None:
    with mount.waiter("open", way="thread") as process:
        process.send_signal(getattr(signal, name))
        assert end_of(process) == -getattr(signal, name)


@built
def test_ctrl_c_ends_a_pipeline(mount: Mount) -> None:
    command = f"trap - INT; cat {mount.directory}/read | cat"
    shell = subprocess.Popen(["sh", "-c", command], process_group=0, stdout=subprocess.PIPE)
    with mount.ending(shell):
        mount.expect_waiting("read")
        os.killpg(shell.pid, signal.SIGINT)
        assert end_of(shell) == -signal.SIGINT


@built
def test_child_ends_in_a_read_of_an_inherited_descriptor(mount: Mount) -> None:
    fd = os.open(mount.directory / "read", os.O_RDONLY)
    child = script("waiter.py", "read", fd, "default", "inherited", pass_fds=[fd])
    with os.fdopen(fd), mount.ending(child):
        mount.expect_waiting("read", child.pid)
        child.send_signal(signal.SIGTERM)
        assert end_of(child) == -signal.SIGTERM


@built
def test_exiting_process_does_not_wait_in_its_last_flush(mount: Mount) -> None:
    """No signal reaches a process that is exiting: it could never be ended."""
    with mount.waiter("flush", way="exit") as process:
        assert end_of(process) == 0


@built
def test_signal_ends_only_the_wait_of_its_process(mount: Mount) -> None:
    with mount.waiter("read") as first, mount.waiter("read") as second:
        first.send_signal(signal.SIGTERM)
        assert end_of(first) == -signal.SIGTERM
        assert second.poll() is None
        mount.release()
        assert end_of(second) == 0


@pytest.mark.parametrize("kind", ["open", "rename"])
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_without_the_library_deadly_signals_still_end_the_wait(
    fallback: Mount, kind: str, name: str
) -> None:
    assert "imported before" in fallback.reason
    with fallback.waiter(kind) as process:
        process.send_signal(getattr(signal, name))
        assert end_of(process) == -getattr(signal, name)


def test_without_the_library_a_stop_does_no_harm(fallback: Mount) -> None:
    with fallback.waiter("open") as process:
        process.send_signal(signal.SIGSTOP)
        fallback.settle(process.pid)
        process.send_signal(signal.SIGCONT)
        fallback.release()
        assert end_of(process) == 0


def test_blocked_signal_ends_no_wait() -> None:
    """A pending signal that its process blocks or ignores will not be delivered."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        signal.raise_signal(signal.SIGUSR2)
        assert not interrupts.must_end(os.getpid())
    finally:
        signal.sigtimedwait([signal.SIGUSR2], 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])


def test_thread_that_is_gone_must_end() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert interrupts.must_end(process.pid)
    assert not interrupts.closes_unseen(process.pid)
    assert not interrupts.closes_unseen(os.getpid())
