"""mount, umount and status with the real daemon: they work, or leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxfs.testing import eventually
from mountctl import errors, mount_stats, mounts, processes, timeouts
from mountctl import mount as mounting
from tests.conftest import Mount, mountctl
from tests.e2e.programs import FOREVER, SPIN

LIMIT_S = 60


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*mountctl(str(words[0])), *map(str, words[1:])]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def daemon_of(place: Path) -> int:
    """The pid of the daemon for a mount point, as soon as it runs."""
    found: list[int] = []

    def is_found() -> bool:
        found.extend(filter(None, [processes.daemon_of(str(place))]))
        return bool(found)

    eventually(is_found, LIMIT_S, f"no daemon for {place}")
    return found[0]


def nothing_is_left(place: Path, state: Path) -> bool:
    return (
        not mounts.is_mounted(str(place))
        and processes.daemon_of(str(place)) is None
        and not state.exists()
    )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A mount point; what is mounted there in the end is unmounted."""
    path = tmp_path / "jax"
    path.mkdir()
    yield path
    while mounts.is_mounted(str(path)):
        mounts.unmount(str(path), lazy=True)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "new/state"


def test_umount_returns_when_the_daemon_has_ended(place: Path, state: Path) -> None:
    done = run("mount", "--state-dir", state, place)
    assert (done.returncode, done.stderr) == (0, "")
    assert "cpu:0" in done.stdout
    daemon = daemon_of(place)
    health = mount_stats.flat_keyed((place / "health").read_text())
    engine = int(health["engine_pid"])
    assert run("umount", place).returncode == 0
    assert not mounts.is_mounted(str(place))
    assert processes.command_of(daemon) == processes.command_of(engine) == []
    assert list(place.iterdir()) == []


def test_second_mount_is_refused_and_the_first_goes_on(shared_mount: Mount, state: Path) -> None:
    done = run("mount", "--state-dir", state, shared_mount.path)
    assert done.returncode == errors.AlreadyMounted.exit_code
    assert f"mountctl umount {shared_mount.path}" in done.stderr
    assert not state.exists()
    assert (shared_mount.path / "version").read_text().startswith("jaxfs ")


def test_state_dir_of_another_daemon_is_refused(shared_mount: Mount, place: Path) -> None:
    done = run("mount", "--state-dir", shared_mount.state_dir, place)
    assert done.returncode == errors.StateDirUnusable.exit_code
    assert "is used by another jaxfs daemon" in done.stderr
    assert not mounts.is_mounted(str(place))
    assert shared_mount.state_dir.is_dir()


def test_engine_that_cannot_start_leaves_nothing(
    place: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "none")
    done = run("mount", "--state-dir", state, place)
    assert done.returncode == errors.DaemonFailed.exit_code
    assert "the engine" in done.stderr
    assert nothing_is_left(place, state.parent)


def test_start_that_takes_too_long_leaves_nothing(place: Path, state: Path) -> None:
    done = run("mount", "--timeout", "0.001", "--state-dir", state, place)
    assert done.returncode == errors.StartTimedOut.exit_code
    assert "after 0.001 s" in done.stderr
    assert nothing_is_left(place, state.parent)


def starting(place: Path, state: Path, *words: str) -> subprocess.Popen[str]:
    command = [*mountctl("mount"), *words, "--state-dir", str(state), str(place)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_start_leaves_nothing(place: Path, state: Path, number: signal.Signals) -> None:
    with starting(place, state) as command:
        daemon_of(place)
        command.send_signal(number)
        _, message = command.communicate(timeout=LIMIT_S)
    assert command.returncode == errors.Interrupted.exit_code
    assert number.name in message
    assert nothing_is_left(place, state.parent)


def test_daemon_that_dies_while_starting_leaves_nothing(place: Path, state: Path) -> None:
    with starting(place, state) as command:
        os.kill(daemon_of(place), signal.SIGKILL)
        _, message = command.communicate(timeout=LIMIT_S)
    assert command.returncode == errors.DaemonFailed.exit_code
    assert "was killed by signal 9 before it was ready" in message
    assert nothing_is_left(place, state.parent)


def kill_watcher(daemon: int) -> None:
    subprocess.run(["pkill", "-KILL", "-P", str(daemon), "-f", "jaxfs-watchdog"], check=True)


def killed(mount: Mount) -> None:
    """End the daemon the hard way, after its watcher, and see that its mount is stale."""
    with processes.ProcessHandle(daemon_of(mount.path)) as daemon:
        kill_watcher(daemon.pid)
        daemon.send(signal.SIGKILL)
        assert daemon.ends_within(LIMIT_S)
    assert mounts.is_stale(str(mount.path))


def test_stale_mount_is_shown_and_replaced_by_the_next_one(own_mount: Mount) -> None:
    killed(own_mount)
    (found,) = json.loads(run("status", "--json", own_mount.path).stdout)
    assert (found["state"], found["pid"]) == ("stale", None)
    done = run("mount", "--state-dir", own_mount.state_dir, own_mount.path)
    assert done.returncode == 0
    assert "removed a stale mount" in done.stderr
    rows = [m for m in mounts.jaxfs_mounts() if m.mountpoint == str(own_mount.path)]
    assert len(rows) == 1


@pytest.mark.parametrize("with_watcher", [False, True])
def test_killed_daemon_is_mounted_again_at_once(own_mount: Mount, with_watcher: bool) -> None:
    """The watcher may be taking the stale mount away just then; ``make soak`` does it 100 times."""
    for _ in range(2):
        daemon = daemon_of(own_mount.path)
        if with_watcher:
            kill_watcher(daemon)
        os.kill(daemon, signal.SIGKILL)
        own_mount.start()
        assert (own_mount.path / "version").read_text().startswith("jaxfs ")
    rows = [m for m in mounts.jaxfs_mounts() if m.mountpoint == str(own_mount.path)]
    assert len(rows) == 1


def test_forced_umount_cancels_waiters_first(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    (own_mount.path / "programs/spin/calls/endless").write_text(f"{FOREVER}\n")
    result = own_mount.path / "results/endless"
    with subprocess.Popen(["cat", str(result)], stderr=subprocess.PIPE, text=True) as waiter:
        eventually(lambda: waiting(own_mount) == 1)
        busy = run("umount", own_mount.path)
        assert busy.returncode == errors.Busy.exit_code
        assert f"  {waiter.pid} (waits to open {result}) cat {result}\n" in busy.stderr
        assert run("umount", "--force", own_mount.path).returncode == 0
        _, message = waiter.communicate(timeout=LIMIT_S)
    assert "Transport endpoint is not connected" in message
    assert not mounts.is_mounted(str(own_mount.path))


def waiting(mount: Mount) -> int:
    """Requests that wait, without the one that asks."""
    rows = (mount.path / "metrics").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("jaxfs_waiters ")) - 1


def test_directory_that_is_no_mount_cannot_be_unmounted(place: Path) -> None:
    with pytest.raises(errors.UnmountFailed):
        mounts.unmount(str(place))


def test_mount_that_shows_nothing_does_not_count(place: Path) -> None:
    with pytest.raises(errors.NotAnswering):
        mounting._verify(str(place))


def test_stale_mount_can_be_unmounted(own_mount: Mount) -> None:
    killed(own_mount)
    done = run("umount", own_mount.path)
    assert done.returncode == 0
    assert "removed a stale mount" in done.stderr
    assert not mounts.is_mounted(str(own_mount.path))


def test_busy_mount_names_who_uses_it_and_goes_on(shared_mount: Mount) -> None:
    with (shared_mount.path / "version").open():
        done = run("umount", shared_mount.path)
    assert done.returncode == errors.Busy.exit_code
    assert f"  {os.getpid()} (fd " in done.stderr
    assert f" {shared_mount.path}/version) " in done.stderr
    assert (shared_mount.path / "version").read_text().startswith("jaxfs ")


def test_status_shows_what_health_has(shared_mount: Mount) -> None:
    (found,) = json.loads(run("status", "--json", shared_mount.path).stdout)
    assert found["mountpoint"] == str(shared_mount.path)
    assert (found["state"], found["engine"]) == ("ok", "ready")
    assert found["pid"] == daemon_of(shared_mount.path)
    assert found["programs"] == len(list((shared_mount.path / "programs").glob("*.mlir")))
    assert found["uptime_usec"] > 0
    shown = run("status").stdout
    assert str(shared_mount.path) in shown


def test_status_does_not_hang_with_a_hung_mount(own_mount: Mount) -> None:
    daemon = daemon_of(own_mount.path)
    os.kill(daemon, signal.SIGSTOP)
    try:
        (found,) = json.loads(run("status", "--json", own_mount.path).stdout)
        refused = run("mount", "--state-dir", own_mount.state_dir, own_mount.path)
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert (found["state"], found["pid"]) == ("hung", daemon)
    assert refused.returncode == errors.AlreadyMounted.exit_code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_foreground_unmounts_when_it_is_ended(
    place: Path, state: Path, number: signal.Signals
) -> None:
    with starting(place, state, "--foreground") as command:
        assert command.stdout is not None
        assert "ready in" in command.stdout.readline()
        assert timeouts.within(LIMIT_S, (place / "version").read_text).startswith("jaxfs ")
        command.send_signal(number)
        _, logged = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 0
    assert f"{number.name}: unmounting" in logged or "SIGTERM: unmounting" in logged
    assert not mounts.is_mounted(str(place))
    assert processes.daemon_of(str(place)) is None
