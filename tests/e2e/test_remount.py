"""What a remount brings back."""

from __future__ import annotations

import os
import signal

import numpy as np
from safetensors.numpy import save

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, front_of


def test_arrays_are_there_after_a_remount(own_mount: Mount) -> None:
    own_mount.remount("keep_arrays")
    large = np.arange(1 << 18, dtype=np.float32)
    np.save(own_mount.path / "arrays/large.npy", large)
    leaves: dict[str, np.ndarray] = {"a": np.ones(3, np.float32), "b": np.arange(4, dtype=np.int64)}
    (own_mount.path / "arrays/p").write_bytes(save(leaves))
    os.chmod(own_mount.path / "arrays/p", 0o600)
    (own_mount.path / "arrays/gone").write_text("[1]\n")
    os.unlink(own_mount.path / "arrays/gone")
    (own_mount.path / "arrays/bool").write_text("[true, false]\n")
    own_mount.remount()
    assert sorted(os.listdir(own_mount.path / "arrays")) == ["bool", "large", "p"]
    assert np.array_equal(np.load(own_mount.path / "arrays/large"), large)
    assert np.load(own_mount.path / "arrays/p.b").tolist() == [0, 1, 2, 3]
    assert (own_mount.path / "arrays/p").stat().st_mode & 0o777 == 0o600
    assert (own_mount.path / "arrays/bool.dtype").read_text() == "bool\n"
    own_mount.add("saxpy.mlir", SAXPY)
    (own_mount.path / "arrays/x").write_text("[1.0, 2, 3, 4]\n")
    own_mount.remount()
    (own_mount.path / "programs/saxpy/calls/s").write_text("arrays/x arrays/x\n")
    assert (own_mount.path / "results/s.json").read_text() == "[3.0, 6.0, 9.0, 12.0]\n"


def test_arrays_survive_the_daemon(own_mount: Mount) -> None:
    own_mount.remount("keep_arrays")
    (own_mount.path / "arrays/x").write_text("[1.0, 2]\n")
    eventually((own_mount.state_dir / "arrays/x.array").exists)
    os.kill(front_of(own_mount), signal.SIGKILL)
    eventually(lambda: not os.path.ismount(own_mount.path))
    own_mount.start()
    assert (own_mount.path / "arrays/x.json").read_text() == "[1.0, 2.0]\n"


def test_without_the_option_arrays_are_gone_after_a_remount(own_mount: Mount) -> None:
    (own_mount.path / "arrays/x").write_text("[1.0, 2]\n")
    own_mount.remount()
    assert os.listdir(own_mount.path / "arrays") == []


def test_bindings_are_there_after_a_remount(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.symlink("../../../arrays/y", own_mount.path / "programs/saxpy/inputs/y")
    os.symlink("../../../../arrays/y", own_mount.path / "transformations/vmap/saxpy/inputs/1")
    own_mount.remount()
    (own_mount.path / "arrays/y").write_text("[1.0, 2, 3, 4]\n")
    (own_mount.path / "programs/saxpy/calls/s").write_text("[1,1,1,1]\n")
    assert (own_mount.path / "results/s.json").read_text() == "[3.0, 4.0, 5.0, 6.0]\n"
    inputs = own_mount.path / "transformations/vmap/saxpy/inputs"
    assert os.readlink(inputs / "1") == "../../../../arrays/y"
    os.unlink(own_mount.path / "programs/saxpy/inputs/y")
    own_mount.remount()
    assert os.listdir(own_mount.path / "programs/saxpy/inputs") == []
    assert os.listdir(inputs) == ["1"]


def test_programs_are_there_after_a_remount_and_do_not_compile_again(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.chmod(own_mount.path / "programs/saxpy.mlir", 0o640)
    before = own_mount.keyed("programs/saxpy/status")
    executables = own_mount.state_dir / "executables"
    stamps = {path: path.stat().st_mtime_ns for path in executables.glob("*/executable")}
    own_mount.remount()
    assert own_mount.keyed("programs/saxpy/status") == before
    assert (own_mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    assert (own_mount.path / "programs/saxpy.mlir").stat().st_mode & 0o777 == 0o640
    own_mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert own_mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    after = {path: path.stat().st_mtime_ns for path in executables.glob("*/executable")}
    assert after == stamps
    assert own_mount.keyed("health")["tracer"] == "idle"


def test_removed_program_stays_removed(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    os.unlink(own_mount.path / "programs/saxpy.mlir")
    own_mount.remount()
    assert os.listdir(own_mount.path / "programs") == []


def test_lost_compile_cache_costs_only_time(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    own_mount.stop()
    for path in own_mount.state_dir.glob("executables/*/executable"):
        path.unlink()
        (path.parent / "info.json").unlink()
    own_mount.start()
    own_mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert own_mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
