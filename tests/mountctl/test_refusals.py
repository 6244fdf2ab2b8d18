"""What mountctl refuses before anything is started: each with its own exit code."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import jaxfs
from jaxfs import options
from jaxfs.options import Options
from jaxfs.posix import accelerators, device_selection
from mountctl import errors, preflight
from mountctl.cli import main

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming a plain user needs root")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    place = tmp_path / "jax"
    place.mkdir()
    return place


@pytest.fixture
def reachable() -> Iterator[Path]:
    """An empty directory that any user gets to."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        os.chmod(place, 0o755)
        inner = Path(place, "jax")
        inner.mkdir()
        yield inner


@pytest.fixture
def usable_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device any user may open, as /dev/fuse is on most systems."""
    monkeypatch.setattr(preflight, "FUSE_DEVICE", Path("/dev/null"))


@pytest.fixture
def machine_without_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX finds nothing but its CPU."""
    monkeypatch.setattr(accelerators, "plugin_names", frozenset)
    monkeypatch.setattr(device_selection, "plugin_names", frozenset)


def outcome_for_plain_user(request: preflight.PreflightRequest) -> tuple[int, str]:
    """Exit code and message of the checks in a process of a plain user; 0 if they pass."""
    theirs, ours = os.pipe()
    child = os.fork()
    if not child:
        code = 255
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            for check in preflight.CHECKS:
                check(request)
            code = 0
        except errors.MountctlError as error:
            code = error.exit_code
            os.write(ours, error.message.encode())
        finally:
            os._exit(code)
    os.close(ours)
    with os.fdopen(theirs) as pipe:
        message = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), message


def exit_code_of_plain_user(request: preflight.PreflightRequest) -> int:
    return outcome_for_plain_user(request)[0]


def test_exit_codes_are_distinct_and_in_the_help() -> None:
    codes = [code for code, _ in errors.TABLE]
    assert len(set(codes)) == len(codes) == len(errors.MountctlError.__subclasses__())
    shown = run("--help").output
    assert all(f"{code:3}  {meaning}" in shown for code, meaning in errors.TABLE)


def test_version_is_the_package_version() -> None:
    assert run("--version").output == f"jaxfs {jaxfs.__version__}\n"


def test_missing_mount_point(tmp_path: Path) -> None:
    done = run("mount", tmp_path / "nowhere")
    assert done.exit_code == errors.NoMountPoint.exit_code
    assert f"mkdir -p {tmp_path}/nowhere" in done.output
    assert not (tmp_path / "nowhere").exists()


def test_mount_point_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert run("mount", tmp_path / "file").exit_code == errors.NotADirectory.exit_code


def test_mount_point_with_files_in_it(empty: Path) -> None:
    (empty / "thesis.tex").touch()
    done = run("mount", empty)
    assert done.exit_code == errors.NotEmpty.exit_code
    assert "thesis.tex" in done.output
    assert "nonempty" in done.output


def test_nonempty_lets_files_be_hidden(empty: Path) -> None:
    (empty / "thesis.tex").touch()
    preflight.is_empty(preflight.PreflightRequest(str(empty), options.parse(["nonempty"])))


def test_unknown_option_names_a_close_one(empty: Path) -> None:
    done = run("mount", "-o", "alow_other", empty)
    assert done.exit_code == errors.BadOption.exit_code
    assert "did you mean allow_other" in done.output


def test_state_dir_that_cannot_be_created(tmp_path: Path, empty: Path) -> None:
    (tmp_path / "file").touch()
    done = run("mount", "--state-dir", tmp_path / "file/state", empty)
    assert done.exit_code == errors.StateDirUnusable.exit_code
    assert f"{tmp_path}/file/state" in done.output


def test_state_dir_inside_the_mount_point(empty: Path) -> None:
    done = run("mount", "--state-dir", empty / "state", empty)
    assert done.exit_code == errors.StateDirUnusable.exit_code
    assert list(empty.iterdir()) == []


def test_log_file_that_cannot_be_written_takes_the_new_state_dir_along(
    tmp_path: Path, empty: Path
) -> None:
    state, log = tmp_path / "a/b/state", tmp_path / "nowhere/log"
    done = run("mount", "--state-dir", state, "--log-file", log, empty)
    assert done.exit_code == errors.StateDirUnusable.exit_code
    assert not (tmp_path / "a").exists()


def test_missing_fuse_device(tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FUSE_DEVICE", tmp_path / "fuse")
    done = run("mount", empty)
    assert done.exit_code == errors.NoFuse.exit_code
    assert "modprobe fuse" in done.output


def test_fuse_device_that_does_not_open(
    tmp_path: Path, empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "FUSE_DEVICE", tmp_path)
    done = run("mount", empty)
    assert done.exit_code == errors.NoFuse.exit_code
    assert "cannot be opened (is a directory): load the module" in done.output


@as_root
def test_closed_fuse_device_is_refused_with_the_command_that_opens_it(
    reachable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(reachable, NOBODY, NOBODY)
    device = reachable.parent / "fuse"
    device.touch(mode=0o600)
    monkeypatch.setattr(preflight, "FUSE_DEVICE", device)
    request = preflight.PreflightRequest(str(reachable), Options(), uid=NOBODY)
    code, message = outcome_for_plain_user(request)
    assert code == errors.NoFuse.exit_code
    assert "cannot be opened (permission denied): as root: chmod 666" in message


@as_root
def test_plain_user_needs_a_writable_mount_point() -> None:
    request = preflight.PreflightRequest("/", Options(nonempty=True), uid=NOBODY)
    assert exit_code_of_plain_user(request) == errors.NotPermitted.exit_code


@as_root
def test_plain_user_needs_to_own_a_sticky_mount_point(reachable: Path) -> None:
    reachable.chmod(0o1777)
    request = preflight.PreflightRequest(str(reachable), Options(), uid=NOBODY)
    assert exit_code_of_plain_user(request) == errors.NotPermitted.exit_code


@as_root
def test_plain_user_needs_fusermount(
    reachable: Path, monkeypatch: pytest.MonkeyPatch, usable_device: None
) -> None:
    os.chown(reachable, NOBODY, NOBODY)
    monkeypatch.setenv("PATH", str(reachable))
    request = preflight.PreflightRequest(str(reachable), Options(), uid=NOBODY)
    assert exit_code_of_plain_user(request) == errors.NoFusermount.exit_code


@as_root
@pytest.mark.parametrize(
    ("conf", "exit_code"),
    [("user_allow_other\n", 0), ("#user_allow_other\n", errors.NoFusermount.exit_code)],
)
def test_plain_user_lets_others_in_only_where_root_allows_it(
    reachable: Path,
    conf: str,
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    usable_device: None,
) -> None:
    os.chown(reachable, NOBODY, NOBODY)
    fuse_conf = reachable.parent / "fuse.conf"
    fuse_conf.write_text(conf)
    monkeypatch.setattr(preflight, "FUSE_CONF", fuse_conf)
    request = preflight.PreflightRequest(str(reachable), Options(allow_other=True), uid=NOBODY)
    assert exit_code_of_plain_user(request) == exit_code


@pytest.mark.parametrize("command", ["umount", "status"])
def test_directory_without_a_mount(empty: Path, command: str) -> None:
    done = run(command, empty)
    assert done.exit_code == errors.NotMounted.exit_code
    assert str(empty) in done.output


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("platform=abacus", "no platform 'abacus'"),
        ("platform=cuda", "pip install 'jaxfs[cuda13]'"),
        ("platform=gpu", "pip install 'jaxfs[cuda13]'"),
        ("platform=tpu,engine=per-user", "pip install 'jaxfs[tpu]'"),
        ("visible_devices=0", "CPU devices are virtual"),
        ("visible_devices=0,2", "CPU devices are virtual"),
        ("visible_devices=", "numbers or names of devices"),
        ("visible_devices=-1", "numbers or names of devices"),
        ("visible_devices=0;2", "numbers or names of devices"),
        ("visible_devices=0,all", "no option 'all'"),
        ("visible_devices=GPU-", "numbers or names of devices"),
        ("memory_fraction=0", "above 0 and at most 1"),
        ("memory_fraction=0.0", "above 0 and at most 1"),
        ("memory_fraction=2", "above 0 and at most 1"),
        ("memory_fraction=-.5", "above 0 and at most 1"),
        ("memory_fraction=nan", "above 0 and at most 1"),
        ("memory_fraction=inf", "above 0 and at most 1"),
        ("preallocate=yes", "takes no value"),
    ],
)
def test_devices_that_cannot_be_had_are_refused_before_the_daemon_starts(
    word: str, reason: str, empty: Path, usable_device: None, machine_without_plugins: None
) -> None:
    refused = run("mount", "-o", word, empty)
    assert refused.exit_code == errors.BadOption.exit_code
    assert reason in refused.output
