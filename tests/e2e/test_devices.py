"""Devices, placement and df."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from tests.conftest import SAXPY, Mount, mounting


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with mounting(tmp_path_factory.mktemp("four"), "devices=4") as mount:
        yield mount


def test_device_tells_all_that_jax_tells(mount: Mount) -> None:
    assert os.listdir(mount.path / "devices") == ["cpu:0"]
    here = mount.path / "devices/cpu:0"
    assert (here / "platform").read_text() == "cpu\n"
    assert (here / "id").read_text() == "0\n"
    assert (here / "kind").read_text() == "cpu\n"
    assert (here / "process_index").read_text() == "0\n"
    assert (here / "default_memory").read_text().strip() in (
        (here / "memory_kinds").read_text().split()
    )
    assert (here / "health").read_text() == "ok\n"


def test_virtual_devices_appear(four: Mount) -> None:
    assert sorted(os.listdir(four.path / "devices")) == [f"cpu:{n}" for n in range(4)]


def test_program_moves_to_another_device_and_answers_the_same(four: Mount) -> None:
    saxpy = four.add("saxpy.mlir", SAXPY)
    assert (saxpy / "device").read_text() == "cpu:0\n"
    four.sh("echo cpu:3 > programs/saxpy/device")
    assert (saxpy / "device").read_text() == "cpu:3\n"
    four.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert four.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    assert four.keyed("results/a.status")["device"] == "cpu:3"


def test_placement_outlives_the_daemon(four: Mount) -> None:
    four.add("placed.mlir", SAXPY)
    four.sh("echo cpu:2 > programs/placed/device")
    four.remount()
    assert (four.path / "programs/placed/device").read_text() == "cpu:2\n"


def test_unknown_device_is_enodev_and_changes_nothing(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    with pytest.raises(OSError) as caught:
        (saxpy / "device").write_text("cpu:7\n")
    assert caught.value.errno == errno.ENODEV
    assert (saxpy / "device").read_text() == "cpu:0\n"
    assert "cpu:0" in (mount.path / "error_log").read_text()


def test_memory_tells_what_arrays_take(mount: Mount) -> None:
    device = next(iter(os.listdir(mount.path / "devices")))
    before = int(mount.keyed(f"devices/{device}/memory")["host_arrays_bytes"])
    (mount.path / "arrays/x").write_text("[1.0, 2.0, 3.0]\n")
    os.link(mount.path / "arrays/x", mount.path / "arrays/y")
    assert int(mount.keyed(f"devices/{device}/memory")["host_arrays_bytes"]) == before + 12
