"""The doctor finds what is missing, and what to do."""

from __future__ import annotations

import configparser
import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mountctl import errors, preflight, status
from mountctl.cli import main
from mountctl.doctor import accelerators, environment, fuse, limits, python, report, sandbox
from mountctl.doctor.finding import Examination, Finding
from tests.posix.machines import JAXLIB, FakeMachine


def only(examination: Examination) -> Finding:
    (found,) = examination()
    return found


def test_machine_that_runs_these_tests_is_sound() -> None:
    findings = [
        finding
        for examination in report.EXAMINATIONS
        if examination != environment.mounts
        for finding in examination()
    ]
    assert [finding for finding in findings if finding.level == "fail"] == []
    assert all(finding.remedy for finding in findings if finding.level != "ok")
    named = {finding.subject for finding in findings}
    assert {"kernel", "libfuse", "Landlock", "seccomp", "JAX devices", "open files"} <= named


def test_missing_device_fails_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(preflight, "FUSE_DEVICE", tmp_path / "fuse")
    found = only(fuse.device)
    assert found.level == "fail"
    assert "modprobe fuse" in found.remedy


def test_missing_libfuse_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "LIBFUSE", "libnowhere.so.3")
    assert only(fuse.libfuse).level == "fail"


def test_old_kernel_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "OLDEST", (99, 0))
    assert only(fuse.kernel).level == "warn"


def test_missing_fusermount_matters_to_plain_users_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    for uid, level in ((0, "warn"), (1000, "fail")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        assert only(fuse.fusermount).level == level


def test_allow_other_is_roots_unless_fuse_conf_allows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(preflight, "FUSE_CONF", tmp_path / "fuse.conf")
    assert only(fuse.others).level == "warn"
    (tmp_path / "fuse.conf").write_text("user_allow_other\n")
    assert only(fuse.others).level == "ok"


def test_missing_interrupts_module_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "EXTENSION_SUFFIXES", [".nowhere"])
    assert only(fuse.interrupts).level == "warn"


def test_request_timeout_of_the_kernel_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timeout").write_text("30\n")
    monkeypatch.setattr(fuse, "REQUEST_TIMEOUT", tmp_path / "timeout")
    assert "30 s" in only(fuse.request_timeout).found


def test_missing_landlock_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "LANDLOCK_CREATE_RULESET", 100_000)  # ENOSYS
    assert ctypes.CDLL(None).syscall(100_000) == -1
    assert only(sandbox.landlock).level == "warn"


def test_missing_seccomp_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "ACTIONS", tmp_path / "nowhere")
    assert only(sandbox.seccomp).level == "warn"


def test_jax_that_finds_no_device_fails_with_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "LIST_DEVICES", "raise RuntimeError('no abacus')")
    found = only(python.jax)
    assert (found.level, found.found) == ("fail", "RuntimeError: no abacus")


def test_jax_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "LIST_DEVICES", "import time; time.sleep(600)")
    monkeypatch.setattr(python, "DEVICES_S", 0.1)
    assert "no answer" in only(python.jax).found


def test_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python, "PACKAGES", ("jaxfs-nowhere",))
    found = only(python.packages)
    assert (found.level, found.remedy) == ("fail", f"{sys.executable} -m pip install jaxfs")


def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(limits, "FILES", hard + 1)
    assert only(limits.files).level == "warn"
    monkeypatch.setattr(limits, "FILES", hard)
    assert only(limits.files).level == "ok"


def test_full_state_directory_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert only(limits.state).level == "ok"
    monkeypatch.setattr(limits, "STATE_BYTES", 1 << 62)
    assert "free on" in only(limits.state).found


def test_small_cgroup_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_cgroup_limit", lambda name: 100)
    assert (only(limits.memory).level, only(limits.tasks).level) == ("warn", "warn")


def test_stale_mount_fails_with_the_command_that_removes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status, "statuses", lambda place: [status.MountStatus("/jax", "stale")])
    assert only(environment.mounts).remedy == "mountctl umount /jax"


def test_damaged_files_of_the_state_directory_are_a_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = [status.MountStatus("/jax", "ok", damaged_records=2)]
    monkeypatch.setattr(status, "statuses", lambda place: found)
    finding = only(environment.mounts)
    assert (finding.level, finding.found) == (
        "warn",
        "ok, without 2 damaged files of its state directory",
    )
    assert "mountctl logs /jax" in finding.remedy


def test_doctors_exit_code_says_whether_something_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "EXAMINATIONS", (fuse.device,))
    assert CliRunner().invoke(main, ["doctor"]).exit_code == 0
    monkeypatch.setattr(preflight, "FUSE_DEVICE", tmp_path / "fuse")
    failed = CliRunner().invoke(main, ["doctor"])
    assert failed.exit_code == errors.NotSound.exit_code
    assert "modprobe fuse" in failed.output
    assert "0 ok, 0 warn, 1 fail" in failed.output


def test_doctors_json_has_a_row_for_each_finding() -> None:
    command = [sys.executable, "-m", "mountctl.cli", "doctor", "--json"]
    rows = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
    assert all({"subject", "level", "found"} <= set(row) for row in rows)
    assert "kernel" in {row["subject"] for row in rows}


# Accelerators, on machines made of files


def test_a_machine_without_accelerators_is_sound(machine: FakeMachine) -> None:
    assert only(accelerators.accelerators) == Finding(
        "accelerators", "ok", "none: devices are CPUs"
    )


def test_sound_gpus_are_counted_with_their_versions(machine: FakeMachine) -> None:
    machine.make_sound(gpus=2)
    devices, users = accelerators.accelerators()
    assert devices.level == users.level == "ok"
    assert devices.found == f"2 of them, driver 580.65.06, jax-cuda13-plugin {JAXLIB}"
    assert "engine=per-user gives each 0.25 of the memory" in users.found


@pytest.mark.parametrize(
    ("node", "found", "remedy"),
    [
        ("nvidia-uvm", "nvidia-uvm is missing", "nvidia-modprobe -u -c 0"),
        ("nvidiactl", "nvidiactl is missing", "give the container"),
        ("nvidia0", "no device file", "--gpus all"),
    ],
)
def test_a_missing_device_file_is_a_warning_with_the_next_step(
    node: str, found: str, remedy: str, machine: FakeMachine
) -> None:
    machine.make_sound(gpus=1)
    (machine.dev / node).unlink()
    finding = only(accelerators.accelerators)
    assert finding.level == "warn"
    assert found in finding.found
    assert remedy in finding.remedy


def test_devices_that_not_all_users_can_open_are_a_warning(machine: FakeMachine) -> None:
    machine.make_sound(gpus=1)
    (machine.dev / "nvidia0").chmod(0o660)
    *_, users = accelerators.accelerators()
    assert users.level == "warn"
    assert "nvidia0 is open to the group" in users.found


def test_the_plugin_for_a_gpu_does_not_mix_cuda_versions(machine: FakeMachine) -> None:
    machine.add_nodes("nvidia0")
    assert only(accelerators.accelerators).remedy == "pip install 'jaxfs[cuda13]'"
    machine.make_sound()
    machine.install("jax-cuda12-plugin", plugin="xla_cuda12")
    assert "are both installed" in only(accelerators.accelerators).found


def test_the_plugin_for_an_old_driver_is_that_of_cuda_12(machine: FakeMachine) -> None:
    machine.add_nodes("nvidia0")
    machine.load_driver("550.54.14")
    assert only(accelerators.accelerators).remedy == "pip install 'jaxfs[cuda12]'"


def test_a_tpu_is_one_process_s(machine: FakeMachine) -> None:
    machine.install("libtpu", "0.0.42")
    machine.add_nodes("accel0")
    devices, users = accelerators.accelerators()
    assert devices.found == "1 of them, libtpu 0.0.42"
    assert "engine=per-user is refused" in users.found


def test_every_extra_that_a_message_names_exists() -> None:
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    assert {"cuda12", "cuda13", "tpu"} <= set(config["options.extras_require"])
    assert config["options.extras_require"]["cuda12"].strip() == "jax[cuda12]"
    assert config["options.extras_require"]["cuda13"].strip() == "jax[cuda13]"
