"""Processes behind the mount die; the mount does not."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from jaxfs.testing import eventually
from tests.conftest import HANGS_S, SAXPY, Mount
from tests.e2e.programs import SECONDS, SPIN, sines
from tests.e2e.test_permissions import jobs_of


def pid_of(module: str, mount: Mount) -> int:
    """The process of this mount that runs a module."""
    health = mount.keyed("health")
    front = int(subprocess.check_output(["ps", "-o", "ppid=", "-p", health["engine_pid"]]))
    children = subprocess.check_output(["ps", "-o", "pid=,args=", "--ppid", str(front)], text=True)
    return next(int(line.split()[0]) for line in children.splitlines() if module in line)


def command_of(pid: int) -> str:
    """The command line of a process, empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_calls_in_flight_survive_the_engine(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("saxpy.mlir", SAXPY)
    own_mount.sh(
        "echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/before; cat results/before > /dev/null"
    )
    for number in range(4):
        own_mount.sh(f"echo {SECONDS // 4 + number} > programs/spin/calls/s{number}")
    os.kill(int(own_mount.keyed("health")["engine_pid"]), signal.SIGKILL)
    for number in range(4):
        text = own_mount.sh(f"cat results/s{number}.json").stdout
        assert text.strip() == str(SECONDS // 4 + number)
    assert own_mount.sh("cat results/before.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    assert own_mount.keyed("health")["engine_restarts"] == "1"
    assert own_mount.keyed("health")["state"] == "ok"


def test_conversations_survive_the_engine(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    wrong: list[int] = []
    stop = threading.Event()

    def client(number: int) -> None:
        fd = os.open(own_mount.path / "programs/saxpy/call.raw", os.O_RDWR)
        x, y = np.full(4, number, np.float32), np.ones(4, np.float32)
        while not stop.is_set():
            os.write(fd, x.tobytes() + y.tobytes())
            if os.read(fd, 16) != (2 * x + y).tobytes():
                wrong.append(number)
        os.close(fd)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        for restarts in range(1, 4):
            os.kill(int(own_mount.keyed("health")["engine_pid"]), signal.SIGKILL)
            own_mount.sh(f"echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/k{restarts}")
            own_mount.sh(f"cat results/k{restarts} > /dev/null")
            assert own_mount.keyed("health")["engine_restarts"] == str(restarts)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong


def test_programs_compile_after_the_tracer_died(own_mount: Mount) -> None:
    own_mount.add("a.mlir", SAXPY)
    os.kill(pid_of("jaxfs.compiler", own_mount), signal.SIGKILL)
    own_mount.add("b.mlir", SAXPY.replace("2.0", "7.0"))
    assert own_mount.keyed("programs/b/status")["state"] == "ready"


def test_nothing_is_left_of_a_mount_that_ended(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    pids = [int(own_mount.keyed("health")["engine_pid"]), pid_of("jaxfs.compiler", own_mount)]
    own_mount.stop()
    for pid in pids:
        assert "jaxfs" not in command_of(pid)
    own_mount.start()


def test_a_compile_that_the_kernel_ends_is_tried_again_at_the_next_use(own_mount: Mount) -> None:
    """As where memory is short: a job of the compiler gets SIGKILL, and no one is to blame."""
    path = own_mount.path / "programs/slow.mlir"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, sines(2000).encode())
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(os.close, fd)
        eventually(lambda: kill_jobs(own_mount) >= 0 and closing.done())
        error = closing.exception(HANGS_S)
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert own_mount.keyed("programs/slow/status")["state"] == "failed"
    assert "SIGKILL" in (own_mount.path / "programs/slow/error").read_text()
    assert "SIGKILL" in own_mount.log
    call = "echo '[0,0,0,0]' > programs/slow/calls/again && cat results/again.json"
    assert own_mount.sh(call).stdout == "[0.0, 0.0, 0.0, 0.0]\n"
    assert own_mount.keyed("programs/slow/status")["state"] == "ready"
    assert own_mount.keyed("health")["tracer_restarts"] == "0"


def kill_jobs(mount: Mount) -> int:
    """Ends the compiler's jobs that work now; returns how many."""
    count = 0
    for pid in jobs_of(mount):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGKILL)
            count += 1
    return count
