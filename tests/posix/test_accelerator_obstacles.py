"""What keeps JAX from an accelerator is found, with the next step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jaxfs.posix import accelerators
from jaxfs.posix.accelerator_obstacles import has_hardware, obstacles, start_failure
from jaxfs.posix.accelerators import CUDA, ROCM, TPU
from tests.posix.machines import JAXLIB, FakeMachine


def found(platform: str = "cuda", **environment: str) -> list[str]:
    """The obstacles for a platform."""
    return [str(one) for one in obstacles(platform, environment)]


def test_nothing_is_found_on_a_sound_machine(machine: FakeMachine) -> None:
    machine.make_sound()
    assert found() == found("gpu") == []
    assert found("cpu") == []


def test_a_missing_plugin_is_found(machine: FakeMachine) -> None:
    machine.make_sound()
    machine.packages.pop("jax-cuda13-plugin")
    machine.plugins.clear()
    (only,) = found()
    assert "plugin for NVIDIA GPUs is not installed" in only
    assert "pip install 'jaxfs[cuda13]'" in only


def test_a_plugin_of_another_version_than_jaxlib_is_found(machine: FakeMachine) -> None:
    machine.make_sound()
    machine.packages["jax-cuda13-plugin"] = "0.11.2"
    (only,) = found()
    assert "jax-cuda13-plugin is 0.11.2, and jaxlib 0.10.2" in only
    assert f"pip install jax-cuda13-plugin=={JAXLIB} jax-cuda13-pjrt=={JAXLIB}" in only
    machine.packages["jax-cuda13-plugin"] = f"{JAXLIB}.post1"
    assert found() == []


def test_plugins_of_two_cuda_versions_are_found(machine: FakeMachine) -> None:
    machine.make_sound()
    machine.install("jax-cuda12-plugin", plugin="xla_cuda12")
    (only,) = found()
    assert "jax-cuda13-plugin and jax-cuda12-plugin are both installed" in only
    assert "pip uninstall jax-cuda12-plugin jax-cuda12-pjrt" in only


def test_the_command_that_installs_a_plugin_keeps_to_the_cuda_version_there_is(
    machine: FakeMachine,
) -> None:
    assert accelerators.install_command(CUDA) == "pip install 'jaxfs[cuda13]'"
    machine.install("jax-cuda12-plugin")
    assert accelerators.install_command(CUDA) == "pip install 'jaxfs[cuda12]'"


def test_a_driver_that_is_not_loaded_is_found(machine: FakeMachine) -> None:
    machine.install("jax-cuda12-plugin", plugin="xla_cuda12")
    machine.add_nodes("nvidiactl", "nvidia-uvm", "nvidia0")
    (only,) = found()
    assert "the NVIDIA driver is not loaded" in only


def test_a_driver_too_old_for_cuda_13_is_found(machine: FakeMachine) -> None:
    machine.install("jax-cuda13-plugin", plugin="xla_cuda13")
    machine.load_driver("535.183.01")
    machine.add_nodes("nvidiactl", "nvidia-uvm", "nvidia0")
    (only,) = found()
    assert "535.183.01 is too old" in only
    assert "jaxfs[cuda12]" in only


def test_a_container_without_devices_is_found(machine: FakeMachine) -> None:
    machine.make_sound(gpus=0)
    (only,) = found()
    assert str(machine.dev / "nvidia[0-9]*") in only
    assert "--gpus all" in only


def test_a_missing_uvm_device_is_found_with_the_reason_why_cuda_cannot_make_it(
    machine: FakeMachine,
) -> None:
    machine.make_sound()
    (machine.dev / "nvidia-uvm").unlink()
    (only,) = found()
    assert "nvidia-uvm is missing" in only
    assert "nvidia-modprobe -u" in only
    assert "no_new_privs" in only


def test_a_device_that_the_user_cannot_open_is_found(
    machine: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.make_sound(gpus=1)
    (machine.dev / "nvidia0").chmod(0o660)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).stat().st_mode & 0o006 == 6)
    (only,) = found()
    assert "nvidia0 cannot be opened by the user 1000 (mode 660, group" in only


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_an_environment_that_hides_all_devices_is_found(value: str, machine: FakeMachine) -> None:
    machine.make_sound()
    (only,) = found(CUDA_VISIBLE_DEVICES=value)
    assert f"CUDA_VISIBLE_DEVICES is {value!r}" in only
    assert "unset" in only
    assert found(CUDA_VISIBLE_DEVICES="0") == []


def test_windows_has_the_driver_of_its_linux(machine: FakeMachine) -> None:
    machine.install("jax-cuda13-plugin", plugin="xla_cuda13")
    machine.add_nodes("dxg")
    assert found() == []
    assert has_hardware(CUDA)


def test_an_amd_gpu_needs_its_kernel_driver(machine: FakeMachine) -> None:
    machine.install("jax-rocm7-plugin", plugin="xla_rocm7")
    machine.add_nodes("dri/renderD128")
    (only,) = found("rocm")
    assert f"{machine.dev / 'kfd'} is missing" in only


def test_a_tpu_needs_a_device_file(machine: FakeMachine) -> None:
    machine.install("libtpu", "0.0.42")
    assert "accel[0-9]*" in found("tpu")[0]
    machine.add_nodes("vfio/0")
    assert found("tpu") == []


def test_hardware_is_found_by_its_vendor_without_a_driver(machine: FakeMachine) -> None:
    assert not any(has_hardware(row) for row in (CUDA, ROCM, TPU))
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x1002", "0x040300")):
        place = machine.sys / "bus/pci/devices" / name
        place.mkdir(parents=True)
        (place / "vendor").write_text(f"{vendor}\n")
        (place / "class").write_text(f"{kind}\n")
    assert has_hardware(CUDA)
    assert not has_hardware(ROCM)  # that one is the sound of a screen


# What the engine reports


def test_an_error_without_text_is_named_and_explained(machine: FakeMachine) -> None:
    machine.install("jax-cuda13-plugin", plugin="xla_cuda13")
    reason = start_failure("cuda", AssertionError())
    assert reason.startswith("JAX finds no NVIDIA GPU: the NVIDIA driver is not loaded")
    assert reason.endswith("(AssertionError())")


def test_an_error_without_a_known_cause_names_the_next_step(machine: FakeMachine) -> None:
    machine.make_sound()
    assert "nvidia-smi" in start_failure("gpu", AssertionError())
    assert start_failure("gpu", RuntimeError("4 are\nasked for")) == "4 are asked for"
    (machine.dev / "nvidia-uvm").unlink()
    assert start_failure("gpu", ValueError("9 devices are asked for")) == "9 devices are asked for"
    assert start_failure("cpu", AssertionError()) == "AssertionError()"
