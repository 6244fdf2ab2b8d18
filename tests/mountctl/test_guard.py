"""The directory under a mount stays empty, and can be unguarded."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mountctl import mountpoint_guard, statedir
from mountctl.errors import NotPermitted
from tests.conftest import Mount, mountctl

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="immutable files need root")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "place"
    path.mkdir(mode=0o755)
    path.chmod(0o775)
    return path


@pytest.fixture
def underlying(place: Path, tmp_path: Path) -> Iterator[mountpoint_guard.UnderlyingDirectory]:
    with mountpoint_guard.open_underlying(str(place), tmp_path) as underlying:
        yield underlying
        underlying.unguard()


def test_mount_leaves_its_directory_without_write_permission(own_mount: Mount) -> None:
    own_mount.stop()
    assert mode(own_mount.path) == 0o555
    own_mount.start()
    assert (own_mount.path / "version").exists()
    assert mode(own_mount.path) == 0o755  # the mount's own
    subprocess.run([*mountctl("umount"), "--unguard", str(own_mount.path)], check=True)
    assert mode(own_mount.path) == 0o755
    assert (own_mount.state_dir / mountpoint_guard.RECORD_NAME).read_text() == "0755\n"


def test_directory_can_be_given_back_without_a_mount(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    state = statedir.default(str(place))
    state.mkdir(parents=True)
    with mountpoint_guard.open_underlying(str(place), state) as underlying:
        underlying.guard("mode")
    assert mode(place) == 0o555
    subprocess.run([*mountctl("umount"), "--unguard", str(place)], check=True)
    assert mode(place) == 0o775


def test_second_guard_does_not_forget_the_first_mode(
    place: Path, underlying: mountpoint_guard.UnderlyingDirectory
) -> None:
    underlying.guard("mode")
    underlying.guard("mode")
    assert mode(place) == 0o555
    underlying.unguard()
    assert mode(place) == 0o775


def test_no_guard_changes_nothing(
    place: Path, underlying: mountpoint_guard.UnderlyingDirectory
) -> None:
    underlying.guard("none")
    assert mode(place) == 0o775


@as_root
def test_immutable_directory_keeps_root_out_too(
    place: Path, underlying: mountpoint_guard.UnderlyingDirectory
) -> None:
    try:
        underlying.guard("immutable")
    except NotPermitted as error:
        pytest.skip(error.message)
    with pytest.raises(PermissionError):
        (place / "programs").touch()
    underlying.unguard()
    (place / "programs").touch()


def test_failure_restores_the_mode(place: Path, tmp_path: Path) -> None:
    def guard_and_fail() -> None:
        with mountpoint_guard.open_underlying(str(place), tmp_path) as underlying:
            underlying.guard("mode")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        guard_and_fail()
    assert mode(place) == 0o775


@as_root
def test_plain_owner_may_mount_on_a_guarded_directory_again(place: Path, tmp_path: Path) -> None:
    os.chown(place, 20001, 20001)
    place.chmod(0o555)
    fd = os.open(place, os.O_RDONLY)
    child = os.fork()
    if not child:
        code = 255
        try:
            os.setresuid(20001, 20001, 20001)
            mountpoint_guard.UnderlyingDirectory(fd, tmp_path).allow_owner_writes()
            code = 0
        finally:
            os._exit(code)
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mode(place) == 0o755
