"""Fixtures for tests on real mounts (kernel, daemon and engine), and for tests that are async."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from jaxfs.testing import eventually

EXAMPLES = Path(__file__).parent.parent / "examples"
SAXPY = (EXAMPLES / "saxpy.mlir").read_text()
HANGS_S = 120.0  # only a test that never ends takes so long
_NUMBER = re.compile(r"\b\d+\b")
_KEPT = re.compile(r"is unmounted here, but its daemon \(pid (\d+)\)")


# ignored where a shell starts tests behind itself, or nohup(1) does
for _signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine function in trio, with the clock it asks for."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    clock = arguments.get("autojump_clock")
    assert clock is None or isinstance(clock, trio.testing.MockClock)

    async def run() -> None:
        with trio.fail_after(HANGS_S if clock is None else float("1e9")):
            await test(**arguments)

    trio.run(run, clock=clock)
    return True


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """The clock of the test's trio: jumps to the next deadline when all tasks wait.

    Not for code that waits for a thread: a thread is no task.
    """
    return trio.testing.MockClock(autojump_threshold=0)


class Mount:
    """A mounted jaxfs and what a test needs to look behind it."""

    def __init__(self, path: Path, state_dir: Path, options: str = "") -> None:
        self.path = path
        self.state_dir = state_dir
        self.options = options

    def start(self) -> None:
        """``mountctl mount``; it returns when the mount answers and the engine is up."""
        options = ["-o", self.options] if self.options else []
        command = [*mountctl("mount"), *options, "--state-dir", str(self.state_dir), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def stop(self) -> None:
        """``mountctl umount``.

        Another test's mount namespace may have a copy of the mount, and so its daemon, for a while.
        """
        command = [*mountctl("umount"), str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        kept = _KEPT.search(done.stderr)
        if kept is not None:
            eventually(lambda: not is_jaxfs(int(kept[1])), HANGS_S, done.stderr)
        else:
            assert done.returncode == 0, done.stdout + done.stderr

    def remount(self, options: str | None = None) -> None:
        """The same state directory, a new daemon."""
        self.stop()
        self.options = self.options if options is None else options
        self.start()

    @property
    def log(self) -> str:
        """What the daemon logged."""
        return (self.state_dir / "log").read_text()

    def assert_log_is_clean(self, *, but: str = "no exception") -> None:
        """No warning and no error in the daemon's log, except for lines with ``but``."""
        log = "\n".join(line for line in self.log.splitlines() if but not in line)
        assert "WARNING" not in log, log
        assert "ERROR" not in log, log

    def empty(self) -> None:
        """Remove all programs, staging files, calls, results and arrays."""
        for place in ("results", "arrays", "programs"):
            for entry in os.scandir(self.path / place):
                if entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(entry.path)

    def sh(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run bash with the mount as its working directory."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=120,
            check=check,
        )

    def keyed(self, name: str) -> dict[str, str]:
        """A flat keyed file as a dictionary."""
        rows = (self.path / name).read_text().splitlines()
        return {key: value for key, _, value in (row.partition(" ") for row in rows)}

    def add(self, name: str, source: str | bytes) -> Path:
        """Write a program; returns its directory."""
        data = source.encode() if isinstance(source, str) else source
        target = self.path / "programs" / name
        target.write_bytes(data)
        return self.path / "programs" / name.rpartition(".")[0]


@attrs.frozen
class Footprint:
    """What a mount takes while nobody uses it; the same before and after, or something leaks.

    Pooled shared memory does not count: free segments are kept for a while.
    """

    descriptors: tuple[str, ...]  # of the front, without pooled memory, by what they are
    children: tuple[str, ...]  # command lines, without the numbers of descriptors
    shared_memory_used_bytes: int
    result_bytes: int

    @classmethod
    def of(cls, mount: Mount) -> Footprint:
        health = mount.keyed("health")
        front = front_of(mount)
        return cls(
            _descriptors(front),
            tuple(sorted(_NUMBER.sub("", command) for _, command in children_of(front))),
            int(health["shared_memory_used_bytes"]),
            int(health["result_bytes"]),
        )


def _descriptors(pid: int) -> tuple[str, ...]:
    kinds = (link.partition(":[")[0] for _, link in descriptors_of(pid))
    return tuple(sorted(kind for kind in kinds if not kind.startswith("/memfd:")))


def descriptors_of(pid: int) -> set[tuple[str, str]]:
    """The open descriptors of a process: the number of each, and what it is."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add((link.name, os.readlink(link)))
    return found


@contextlib.contextmanager
def closing_descriptors(pid: int | None = None) -> Iterator[None]:
    """After the block a process, this one by default, soon has no descriptor that is new.

    Numbers of descriptors cannot be compared: an object of an earlier test may be collected, and
    close its own, at any time.
    """
    number = os.getpid() if pid is None else pid
    before = descriptors_of(number)
    yield
    with contextlib.suppress(AssertionError):  # the comparison below names them
        eventually(lambda: not descriptors_of(number) - before)
    assert not descriptors_of(number) - before


def front_of(mount: Mount) -> int:
    """The pid of the mount's daemon."""
    eventually(lambda: mount.keyed("health")["engine_pid"] != "0")  # it may be restarting
    engine = mount.keyed("health")["engine_pid"]
    return int(Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[tuple[int, str]]:
    """Pids and command lines.  Starts no process: that would flush the caller's open files."""
    found = []
    for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            command = Path(f"/proc/{number}/cmdline").read_text().replace("\0", " ")
            found.append((int(number), command))
    return found


def process_of(module: str, mount: Mount) -> int:
    """The process of this mount that runs a module."""
    return next(pid for pid, command in children_of(front_of(mount)) if module in command)


def warm_up(mount: Mount) -> None:
    """Start what a mount starts at need, the tracer for one, and leave it empty."""
    mount.empty()
    mount.add("warm.mlir", f"{SAXPY}// never seen: {time.time_ns()}\n")
    (mount.path / "programs/warm/calls/warm").write_text("[1,1,1,1] [0,0,0,0]")
    (mount.path / "results/warm.txt").read_bytes()
    mount.empty()


@contextlib.contextmanager
def leaving_nothing(mount: Mount) -> Iterator[None]:
    """After the block and with everything removed, the mount takes what it took before."""
    warm_up(mount)
    before = Footprint.of(mount)
    yield
    warm_up(mount)
    with contextlib.suppress(AssertionError):  # the comparison below tells more
        eventually(lambda: Footprint.of(mount) == before, timeout_s=5)
    after = Footprint.of(mount)
    assert after == before, f"{after}\ninstead of\n{before}"


@contextlib.contextmanager
def ending_clean(mount: Mount) -> Iterator[None]:
    """Stops the mount after the block: no process of it is left, no mount, no line of complaint."""
    yield
    front = front_of(mount)
    pids = [front, *(pid for pid, _ in children_of(front))]
    mount.stop()
    assert not os.path.ismount(mount.path)
    eventually(lambda: not any(is_jaxfs(pid) for pid in pids), timeout_s=5)
    mount.assert_log_is_clean()


def is_jaxfs(pid: int) -> bool:
    """Whether a process is there and one of ours; its number may be another's by now."""
    try:
        return b"jaxfs" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def mountctl(command: str) -> list[str]:
    """The command line of this very checkout."""
    return [sys.executable, "-m", "mountctl.cli", command]


@contextlib.contextmanager
def mounting(root: Path, options: str = "") -> Iterator[Mount]:
    """A mount below ``root`` that is gone afterwards, whatever the test did."""
    path, state = root / "jax", root / "state"
    path.mkdir()
    mount = Mount(path, state, options)
    mount.start()
    try:
        yield mount
    finally:
        if os.path.ismount(path):
            mount.stop()
        eventually(lambda: not os.path.ismount(path), message="the mount is still there")


@pytest.fixture(scope="module")
def shared_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """One mount for a module; the log must hold no warning in the end, and nothing be left."""
    with mounting(tmp_path_factory.mktemp("mount")) as mount, ending_clean(mount):
        yield mount


@pytest.fixture
def mount(shared_mount: Mount) -> Iterator[Mount]:
    """The module's mount, emptied after each test."""
    yield shared_mount
    shared_mount.empty()


@pytest.fixture
def own_mount(tmp_path: Path) -> Iterator[Mount]:
    """A mount of its own, for tests that kill, fill or remount."""
    with mounting(tmp_path) as mount:
        yield mount
