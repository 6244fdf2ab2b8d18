"""systemd and the log: notifications, formats, and checks of the installed files."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from jaxfs.front import logs, systemd
from jaxfs.testing import eventually
from mountctl import install as installation
from mountctl import logs as mountctl_logs
from mountctl.cli import main
from mountctl.errors import NotInstalled
from tests.conftest import Mount, front_of, mountctl


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket in ``tmp_path / "socket"``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "socket"))
        receiver.settimeout(60)
        yield receiver


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    done = CliRunner().invoke(main, ["install", "--root", str(path)])
    assert done.exit_code == 0, done.output
    return path


def files_below(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if not path.is_dir())


def test_service_is_told_ready_reloading_and_stopping(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "socket"))
    place = tmp_path / "jax"
    place.mkdir()
    command = [*mountctl("mount"), "-f", "--state-dir", str(tmp_path / "state"), str(place)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert listener.recv(4096).startswith(b"READY=1\nSTATUS=jax ")
        assert (place / "version").exists()
        subprocess.run([*mountctl("reload"), str(place)], check=True)
        assert listener.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        assert listener.recv(4096) == b"READY=1"
        process.send_signal(signal.SIGTERM)
        assert listener.recv(4096) == b"STOPPING=1"
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"jaxfs.front: the log level is info" in log  # in the foreground it is stderr


def test_log_level_changes_while_the_daemon_runs(own_mount: Mount) -> None:
    subprocess.run([*mountctl("logs"), "--level", "debug", str(own_mount.path)], check=True)
    eventually(lambda: "the log level is debug" in own_mount.log)
    shown = subprocess.run(
        [*mountctl("logs"), "-n", "1", str(own_mount.path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.count("\n") == 1
    assert shown in own_mount.log
    assert os.path.ismount(own_mount.path)
    own_mount.remount()
    assert not (own_mount.state_dir / logs.LEVEL_NAME).exists()


def test_log_can_be_json(tmp_path: Path, own_mount: Mount) -> None:
    own_mount.remount("log_format=json")
    os.kill(front_of(own_mount), signal.SIGHUP)
    eventually(lambda: "the log level is info" in own_mount.log)
    entry = json.loads(own_mount.log.splitlines()[-1])
    assert (entry["level"], entry["logger"]) == ("info", "jaxfs.front")
    assert entry["message"] == "the log level is info"


def test_log_can_be_followed(own_mount: Mount) -> None:
    command = [*mountctl("logs"), "-n", "1", "-f", str(own_mount.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() in own_mount.log
        os.kill(front_of(own_mount), signal.SIGHUP)
        assert "the log level is info" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        subprocess.run(
            ["pkill", "-INT", "-P", str(follower.pid)], check=False
        )  # as a terminal does
        follower.communicate(timeout=60)
    assert follower.returncode == 0


def test_log_of_a_mount_that_logs_to_the_journal_is_asked_of_it(own_mount: Mount) -> None:
    own_mount.remount("log_format=journal")
    command = mountctl_logs.source(str(own_mount.path))
    assert (command[0], command[-1]) == ("journalctl", f"JAXFS_MOUNT={own_mount.path}")


def test_journal_gets_an_entry_with_its_fields(
    listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "JOURNAL", tmp_path / "socket")
    record = logging.LogRecord("jaxfs.x", logging.WARNING, "", 0, "two\nlines", (), None)
    logs.ToJournal("/jax").emit(record)
    entry = listener.recv(4096)
    assert entry.startswith(b"MESSAGE\n" + (9).to_bytes(8, "little") + b"two\nlines\nPRIORITY=4\n")
    assert entry.endswith(b"JAXFS_MOUNT=/jax\nJAXFS_LOGGER=jaxfs.x\n")


def test_without_a_journal_the_log_is_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systemd, "JOURNAL", tmp_path / "nowhere")
    logs.ToJournal("/jax").emit(logging.LogRecord("a", logging.INFO, "", 0, "hello", (), None))
    assert "INFO a: hello" in capsys.readouterr().err


def test_uninstall_removes_what_install_made(root: Path) -> None:
    assert len(files_below(root)) == len(installation.FILES)
    assert CliRunner().invoke(main, ["uninstall", "--root", str(root)]).exit_code == 0
    assert files_below(root) == []


def test_file_of_another_origin_is_neither_replaced_nor_removed(root: Path) -> None:
    theirs = root / "sbin/mount.jaxfs"
    theirs.write_text("theirs")
    done = CliRunner().invoke(main, ["install", "--root", str(root)])
    assert done.exit_code == NotInstalled.exit_code
    CliRunner().invoke(main, ["uninstall", "--root", str(root)])
    assert files_below(root) == [theirs]


def test_installing_again_is_possible(root: Path) -> None:
    assert CliRunner().invoke(main, ["install", "--root", str(root)]).exit_code == 0


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_unit_passes_systemds_own_checker(root: Path) -> None:
    unit = root / "usr/local/lib/systemd/system/jaxfs@.service"
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_completes_commands(root: Path, tmp_path: Path) -> None:
    script = tmp_path / "mountctl"
    script.write_text(f"#!{sys.executable}\nfrom mountctl.cli import main\nmain()\n")
    script.chmod(0o755)
    completion = root / "usr/local/share/bash-completion/completions/mountctl"
    asked = (
        f"PATH={tmp_path}:$PATH; . {completion}; COMP_WORDS=(mountctl um); COMP_CWORD=1;"
        " _mountctl_completion mountctl; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "umount\n"
