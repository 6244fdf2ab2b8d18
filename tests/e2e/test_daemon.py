"""The daemon: however it ends nothing is left, and a fault of its own ends one request only."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jaxfs.fuse.session import wait_limit_s
from jaxfs.options import Options
from jaxfs.testing import eventually
from mountctl import mounts, processes
from tests.conftest import SAXPY, Mount, mountctl
from tests.e2e import altered_daemon, waiters
from tests.e2e.programs import FOREVER, SECONDS, SPIN

BOUND_S = 30  # generous: what takes longer hangs
WAITERS = 100


def metric(mount: Mount, name: str) -> int:
    rows = (mount.path / "metrics").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith(f"jaxfs_{name} "))


def until_waiting(mount: Mount, count: int) -> None:
    eventually(lambda: metric(mount, "waiters") >= count, BOUND_S, "the waiters do not wait")


@contextlib.contextmanager
def waiting(mount: Mount, name: str, count: int) -> Iterator[subprocess.Popen[str]]:
    """A process with so many threads that wait for a result that never comes."""
    command = [sys.executable, waiters.__file__, str(mount.path / "results" / name), str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        until_waiting(mount, count)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=BOUND_S)


def verdict(process: subprocess.Popen[str]) -> str:
    """How its threads' waits ended."""
    out, _ = process.communicate(timeout=BOUND_S)
    return out.splitlines()[-1]


@pytest.fixture
def spinning(own_mount: Mount) -> Mount:
    """A mount whose engine computes for ever."""
    program = own_mount.add("spin.mlir", SPIN)
    (program / "calls/endless").write_text(f"{FOREVER}\n")
    return own_mount


def daemon_of(mount: Mount) -> int:
    pid = processes.daemon_of(str(mount.path))
    assert pid is not None
    return pid


def children_of(pid: int) -> list[int]:
    """All processes below one."""
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    found = [int(word) for task in tasks for word in (task / "children").read_text().split()]
    return found + [below for child in found for below in children_of(child)]


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def expect_end(*pids: int) -> None:
    eventually(lambda: not any(map(is_running, pids)), BOUND_S, f"{pids} did not end")


def expect_unmounted(mount: Mount) -> None:
    eventually(lambda: not mounts.is_mounted(str(mount.path)), BOUND_S, "it is still mounted")


def test_sigterm_ends_waiters_mount_and_daemon(spinning: Mount) -> None:
    daemon = daemon_of(spinning)
    family = [daemon, *children_of(daemon)]
    with waiting(spinning, "endless", WAITERS) as process:
        os.kill(daemon, signal.SIGTERM)
        assert verdict(process) == f"{errno.ENOTCONN}:{WAITERS}"
    expect_end(*family)
    expect_unmounted(spinning)
    assert "ERROR" not in spinning.log
    assert "WARNING" not in spinning.log


def test_sigterm_ends_a_close_that_waits_for_a_compile(own_mount: Mount) -> None:
    source = own_mount.path / "programs/a.mlir"
    errors: list[int | None] = []
    fd = os.open(source, os.O_WRONLY | os.O_CREAT)
    os.write(fd, SAXPY.replace("2.0", "3.25").encode())

    def close() -> None:
        try:
            os.close(fd)
        except OSError as error:
            errors.append(error.errno)

    closer = threading.Thread(target=close)
    closer.start()
    daemon = daemon_of(own_mount)
    os.kill(daemon, signal.SIGTERM)
    closer.join(BOUND_S)
    assert not closer.is_alive()
    assert errors in ([], [errno.ENOTCONN], [errno.ECONNABORTED])
    expect_end(daemon)
    expect_unmounted(own_mount)


def test_sigterm_unmounts_while_files_are_open(own_mount: Mount) -> None:
    fd = os.open(own_mount.path / "health", os.O_RDONLY)
    daemon = daemon_of(own_mount)
    os.kill(daemon, signal.SIGTERM)
    expect_end(daemon)
    expect_unmounted(own_mount)
    with pytest.raises(OSError) as caught:
        os.read(fd, 10)
    assert caught.value.errno == errno.ENOTCONN
    with contextlib.suppress(OSError):
        os.close(fd)  # says so too


def test_killed_daemon_leaves_no_mount_and_no_process(spinning: Mount) -> None:
    daemon = daemon_of(spinning)
    family = [daemon, *children_of(daemon)]
    assert len(family) >= 4  # engine, tracer and watcher
    with waiting(spinning, "endless", 10) as process:
        os.kill(daemon, signal.SIGKILL)
        assert sum(int(part.split(":")[1]) for part in verdict(process).split()) == 10
    expect_unmounted(spinning)
    expect_end(*family)
    spinning.start()
    assert spinning.keyed("programs/spin/status")["state"] == "ready"


def test_killed_daemon_is_no_loss_to_a_mount_made_since(own_mount: Mount) -> None:
    """The watcher of the first daemon runs when a second one serves there already."""
    daemon = daemon_of(own_mount)
    watcher = next(p for p in children_of(daemon) if "jaxfs-watchdog" in processes.command_of(p))
    os.kill(watcher, signal.SIGSTOP)
    os.kill(daemon, signal.SIGKILL)
    expect_end(daemon)
    own_mount.start()
    os.kill(watcher, signal.SIGCONT)
    expect_end(watcher)
    assert (own_mount.path / "version").read_text().startswith("jaxfs ")


def test_watcher_does_not_keep_descriptors_of_the_daemon(own_mount: Mount) -> None:
    """Nor does anybody else hold the pipe's other end: it would never close."""
    daemon = daemon_of(own_mount)
    children = children_of(daemon)
    watcher = next(p for p in children if "jaxfs-watchdog" in processes.command_of(p))
    pipe = os.readlink(f"/proc/{watcher}/fd/0")
    assert {int(fd) for fd in os.listdir(f"/proc/{watcher}/fd")} <= {0, 1, 2, 10}
    for pid in children:
        if pid != watcher:
            links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
            assert pipe not in links, processes.command_of(pid)


def test_umount_force_unmounts_what_is_in_use(spinning: Mount) -> None:
    daemon = daemon_of(spinning)
    command = [*mountctl("umount"), str(spinning.path)]
    with waiting(spinning, "endless", 10) as process:
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode
        assert "--force" in refused.stderr
        done = subprocess.run([*command, "--force"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert verdict(process) == f"{errno.ENOTCONN}:10"
    assert not mounts.is_mounted(str(spinning.path))
    assert not is_running(daemon)


def test_umount_force_ends_a_daemon_that_does_not_react(own_mount: Mount) -> None:
    daemon = daemon_of(own_mount)
    os.kill(daemon, signal.SIGSTOP)
    command = [*mountctl("umount"), "--force", str(own_mount.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not mounts.is_mounted(str(own_mount.path))
    assert not is_running(daemon)


def test_a_thousand_waiters_leave_the_mount_usable(spinning: Mount) -> None:
    with waiting(spinning, "endless", 1000) as process:
        spinning.add("saxpy.mlir", SAXPY)
        answer = spinning.sh(
            "echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a; cat results/a.json", check=False
        )
        assert answer.returncode == 0, answer.stderr
        process.kill()
        process.wait(BOUND_S)
    # the one that is left is the open of `metrics` itself
    eventually(lambda: metric(spinning, "waiters") == 1, BOUND_S)


def test_metrics_count_restarts_and_calls(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.kill(int(own_mount.keyed("health")["engine_pid"]), signal.SIGKILL)
    for name in "ab":
        own_mount.sh(
            f"echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/{name}; cat results/{name}.json"
        )
    assert metric(own_mount, "engine_restarts_total") == 1
    assert metric(own_mount, "tracer_restarts_total") == 0
    assert metric(own_mount, "calls_total") == 2
    assert metric(own_mount, "call_errors_total") == 0
    assert metric(own_mount, "result_bytes") == 32


# Faults of the daemon itself


@contextlib.contextmanager
def altered(root: Path, alteration: str) -> Iterator[Mount]:
    """A mount served by a daemon with something put in."""
    mount = Mount(root / "jax", root / "state")
    mount.path.mkdir()
    mount.state_dir.mkdir()
    reader, writer = os.pipe()
    document = {
        "mountpoint": str(mount.path),
        "state_dir": str(mount.state_dir),
        "options": msgspec.to_builtins(Options()),
        "ready_fd": writer,
    }
    with open(mount.state_dir / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, altered_daemon.__file__, alteration, json.dumps(document)],
            pass_fds=[writer],
            stderr=log,
        )
    os.close(writer)
    try:
        with open(reader) as ready:
            said = ready.readline()
        assert '"ready":true' in said, said + mount.log
        yield mount
        assert process.poll() is None, mount.log
    finally:
        process.terminate()
        process.wait(BOUND_S)
    expect_unmounted(mount)


USES = {
    "lookup": "stat health",
    "listing": "ls",
    "count_listed": "ls",
    "open": "cat README",
    "unlink": "touch programs/.a && rm programs/.a",
    "space": "stat -f .",
}


@pytest.mark.parametrize("fault", USES)
def test_fault_in_a_handler_is_eio_for_that_request(tmp_path: Path, fault: str) -> None:
    with altered(tmp_path, fault) as mount:
        done = mount.sh(f"LC_ALL=C {USES[fault]}", check=False)
        assert done.returncode
        assert os.strerror(errno.EIO) in done.stderr
        assert "ZeroDivisionError" in mount.log


@pytest.mark.parametrize("fault", ["forget", "release"])
def test_fault_nobody_hears_of_is_counted(tmp_path: Path, fault: str) -> None:
    with altered(tmp_path, fault) as mount:
        mount.sh("cat README > /dev/null; echo x > programs/.staged; rm programs/.staged")
        eventually(lambda: mount.keyed("health")["internal_errors"] != "0", BOUND_S)
        assert "ZeroDivisionError" in mount.log


# The kernel's limit on waiting


def test_wait_ends_before_the_kernel_aborts_the_mount(tmp_path: Path) -> None:
    """EINTR: Python, and whoever else retries, goes on waiting and misses nothing."""
    with altered(tmp_path, "limit") as mount:
        with contextlib.suppress(InterruptedError):
            mount.add("spin.mlir", SPIN)
        eventually(lambda: mount.keyed("programs/spin/status")["state"] == "ready", BOUND_S)
        (mount.path / "programs/spin/calls/slow").write_text(f"{SECONDS * 2}\n")
        done = mount.sh("LC_ALL=C cat results/slow", check=False)
        assert os.strerror(errno.EINTR) in done.stderr
        assert (mount.path / "results/slow.json").read_text().strip() == str(SECONDS * 2)


@pytest.mark.parametrize(
    ("default", "most", "limit_s"),
    [("0", "0", math.inf), ("0", "60", 59), ("30", "0", 29), ("90", "60", 59), ("5", "0", 14)],
)
def test_limit_is_the_kernels(tmp_path: Path, default: str, most: str, limit_s: float) -> None:
    (tmp_path / "default_request_timeout").write_text(f"{default}\n")
    (tmp_path / "max_request_timeout").write_text(f"{most}\n")
    assert wait_limit_s(tmp_path) == limit_s


def test_kernel_without_the_limit_has_none(tmp_path: Path) -> None:
    assert wait_limit_s(tmp_path) == math.inf
