"""Options that choose devices: what is refused, and the environment of the engine."""

from __future__ import annotations

import pytest

from jaxfs import options
from jaxfs.errors import Invalid
from jaxfs.posix.device_selection import PER_USER_FRACTION, Selection, check, with_options
from tests.posix.machines import FakeMachine


def refused(selection: Selection) -> str:
    """The reason for which a selection is refused."""
    with pytest.raises(Invalid) as caught:
        check(selection)
    return caught.value.reason


def environment(words: str, **inherited: str) -> dict[str, str]:
    """The environment of an engine with some mount options."""
    return with_options(inherited, Selection.of(options.parse([words])))


# Platforms


@pytest.mark.parametrize("platform", ["gpu", "cuda"])
def test_gpu_and_cuda_are_the_platform_that_jax_calls_cuda(
    platform: str, machine: FakeMachine
) -> None:
    machine.make_sound()
    check(Selection(platform))
    assert environment(f"platform={platform}")["JAX_PLATFORMS"] == "cuda"


def test_gpu_is_rocm_where_only_that_plugin_is_installed(machine: FakeMachine) -> None:
    machine.install("jax-rocm7-plugin", plugin="xla_rocm7")
    check(Selection("gpu"))
    assert environment("platform=gpu")["JAX_PLATFORMS"] == "rocm"


@pytest.mark.parametrize("platform", ["cpu", "tpu", "rocm"])
def test_other_platforms_keep_their_name(platform: str, machine: FakeMachine) -> None:
    machine.install("libtpu")
    machine.install("jax-rocm7-plugin", plugin="xla_rocm7")
    check(Selection(platform))
    assert environment(f"platform={platform}")["JAX_PLATFORMS"] == platform


def test_without_the_option_jax_chooses(machine: FakeMachine) -> None:
    check(Selection())
    assert "JAX_PLATFORMS" not in environment("devices=2")
    assert environment("devices=2", JAX_PLATFORMS="cpu")["JAX_PLATFORMS"] == "cpu"


def test_a_nonsense_platform_is_refused_with_those_there_are(machine: FakeMachine) -> None:
    reason = refused(Selection("abacus"))
    assert "no platform 'abacus'" in reason
    assert "cpu gpu cuda rocm tpu" in reason


def test_the_platform_of_another_vendors_plugin_is_left_to_jax(machine: FakeMachine) -> None:
    machine.plugins.append("metal_plugin")
    check(Selection("METAL"))


@pytest.mark.parametrize(
    ("platform", "device", "command"),
    [
        ("cuda", "NVIDIA GPU", "jaxfs[cuda13]"),
        ("gpu", "NVIDIA GPU", "jaxfs[cuda13]"),
        ("rocm", "AMD GPU", "jax[rocm7-local]"),
        ("tpu", "TPU", "jaxfs[tpu]"),
    ],
)
def test_a_platform_without_its_plugin_is_refused_with_the_command_that_installs_it(
    platform: str, device: str, command: str, machine: FakeMachine
) -> None:
    reason = refused(Selection(platform))
    assert device in reason
    assert f"pip install '{command}'" in reason


def test_the_engines_of_users_cannot_share_a_tpu(machine: FakeMachine) -> None:
    machine.install("libtpu")
    reason = refused(Selection("tpu", is_per_user=True))
    assert "libtpu" in reason
    assert "engine=shared" in reason
    check(Selection("tpu"))
    check(Selection("", is_per_user=True))  # JAX may choose the CPU: known after its start


# Devices


def test_visible_devices_hide_the_others_from_the_engine(machine: FakeMachine) -> None:
    machine.make_sound()
    found = environment("visible_devices=0,2", CUDA_VISIBLE_DEVICES="3")
    assert found["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert found["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"  # so that 2 is the 2 of nvidia-smi


@pytest.mark.parametrize(
    "names", ["GPU-1bf7a0b2-3c4d-5e6f-8a9b-0c1d2e3f4a5b", "MIG-GPU-1bf7a0b2/1/0", "MIG-5c21"]
)
def test_visible_devices_may_be_names(names: str, machine: FakeMachine) -> None:
    machine.make_sound()
    check(Selection.of(options.parse([f"platform=cuda,visible_devices={names}"])))
    assert environment(f"visible_devices={names}")["CUDA_VISIBLE_DEVICES"] == names


def test_devices_leaves_no_context_on_the_others(machine: FakeMachine) -> None:
    machine.make_sound(gpus=8)
    assert environment("devices=2")["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert environment("platform=gpu,devices=1")["CUDA_VISIBLE_DEVICES"] == "0"
    two_of_three = environment("visible_devices=4,5,6,devices=2")
    assert two_of_three["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_devices_takes_the_first_of_those_that_the_environment_shows(machine: FakeMachine) -> None:
    machine.make_sound(gpus=8)
    assert environment("devices=2", CUDA_VISIBLE_DEVICES="5,6,7")["CUDA_VISIBLE_DEVICES"] == "5,6"
    assert environment("devices=2", CUDA_VISIBLE_DEVICES="5")["CUDA_VISIBLE_DEVICES"] == "5"


def test_jaxs_own_variable_does_not_pick_among_the_picked(machine: FakeMachine) -> None:
    machine.make_sound(gpus=8)
    found = environment("visible_devices=4,5", JAX_CUDA_VISIBLE_DEVICES="5")
    assert found["CUDA_VISIBLE_DEVICES"] == "4,5"
    assert "JAX_CUDA_VISIBLE_DEVICES" not in found
    first = environment("devices=1", JAX_CUDA_VISIBLE_DEVICES="5,6")
    assert first["JAX_CUDA_VISIBLE_DEVICES"] == "5"
    assert "CUDA_VISIBLE_DEVICES" not in first


def test_a_cpu_shows_all_devices_to_programs(machine: FakeMachine) -> None:
    assert "CUDA_VISIBLE_DEVICES" not in environment("devices=2")
    machine.make_sound()
    assert "CUDA_VISIBLE_DEVICES" not in environment("platform=cpu,devices=2")


def test_an_amd_gpu_is_picked_by_one_variable_only(machine: FakeMachine) -> None:
    machine.install("jax-rocm7-plugin", plugin="xla_rocm7")
    found = environment("visible_devices=0,2", HIP_VISIBLE_DEVICES="1", CUDA_VISIBLE_DEVICES="1")
    assert found["ROCR_VISIBLE_DEVICES"] == "0,2"
    assert not {"HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"} & set(found)
    assert environment("devices=1", HIP_VISIBLE_DEVICES="2,3")["HIP_VISIBLE_DEVICES"] == "2"


def test_chips_of_a_tpu_machine_are_picked_with_their_bounds(machine: FakeMachine) -> None:
    machine.install("libtpu")
    machine.add_nodes("accel0", "accel1", "accel2", "accel3")
    found = environment("platform=tpu,visible_devices=0,1")
    assert found["TPU_VISIBLE_CHIPS"] == "0,1"
    assert found["TPU_CHIPS_PER_PROCESS_BOUNDS"] == "1,2,1"
    assert environment("platform=tpu,devices=1")["TPU_VISIBLE_CHIPS"] == "0"
    assert "TPU_VISIBLE_CHIPS" not in environment("platform=tpu,devices=3")  # all four
    assert "1, 2, 4 or 8" in refused(Selection("tpu", visible="0,1,2"))


@pytest.mark.parametrize(
    ("visible", "reason"),
    [
        ("4", "4 NVIDIA GPUs, numbered from 0 to 3"),
        ("0,17", "visible_devices=17"),
        ("0,0", "a device twice"),
        ("0,GPU-1bf7", "not both"),
    ],
)
def test_devices_that_do_not_exist_are_refused(
    visible: str, reason: str, machine: FakeMachine
) -> None:
    machine.make_sound(gpus=4)
    for platform in ("cuda", "gpu", ""):
        assert reason in refused(Selection(platform, visible=visible))


def test_more_devices_than_visible_ones_are_refused(machine: FakeMachine) -> None:
    machine.make_sound()
    assert "devices=3" in refused(Selection("cuda", devices=3, visible="0,1"))


def test_a_mig_device_is_none_of_amds(machine: FakeMachine) -> None:
    machine.install("jax-rocm7-plugin", plugin="xla_rocm7")
    assert "no name of an AMD GPU" in refused(Selection("rocm", visible="MIG-5c21"))


@pytest.mark.parametrize("platform", ["", "cpu"])
def test_visible_devices_without_an_accelerator_are_refused(
    platform: str, machine: FakeMachine
) -> None:
    assert "CPU devices are virtual" in refused(Selection(platform, visible="0"))


# Memory


def test_the_memory_fraction_replaces_both_names_of_its_variable(machine: FakeMachine) -> None:
    found = environment(
        "memory_fraction=.5", XLA_PYTHON_CLIENT_MEM_FRACTION=".9", XLA_CLIENT_MEM_FRACTION=".8"
    )
    assert found["XLA_CLIENT_MEM_FRACTION"] == "0.5"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in found


def test_memory_is_not_taken_at_the_start_unless_asked_for(machine: FakeMachine) -> None:
    name = "XLA_PYTHON_CLIENT_PREALLOCATE"
    assert environment("devices=1")[name] == "false"
    assert environment("preallocate", XLA_PYTHON_CLIENT_PREALLOCATE="false")[name] == "true"
    assert environment("devices=1", XLA_PYTHON_CLIENT_PREALLOCATE="true")[name] == "true"


def test_engines_of_users_share_a_gpus_memory(machine: FakeMachine) -> None:
    machine.make_sound()
    assert 3 * PER_USER_FRACTION <= 1
    found = environment("engine=per-user")
    assert found["XLA_CLIENT_MEM_FRACTION"] == f"{PER_USER_FRACTION}"
    chosen = environment("engine=per-user,memory_fraction=.4")
    assert chosen["XLA_CLIENT_MEM_FRACTION"] == "0.4"
    old = environment("engine=per-user", XLA_PYTHON_CLIENT_MEM_FRACTION=".3")
    assert "XLA_CLIENT_MEM_FRACTION" not in old  # jaxlib refuses both at once
    assert "XLA_CLIENT_MEM_FRACTION" not in environment("engine=shared")
