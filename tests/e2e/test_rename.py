"""rename(2): programs, staging files, results and arrays."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount
from tests.e2e.programs import DOUBLE, SECONDS, SPIN, sines
from tests.e2e.requests import (
    numbers,
)


def moved_away(mount: Mount) -> None:
    os.rename(mount.path / "arrays/w", mount.path / "arrays/z")


def compiled(path: Path) -> str:
    """Waits for the compile of a staging file, and returns its state."""

    def state() -> str:
        return os.getxattr(path, "user.jaxfs.state").decode()

    eventually(lambda: state() != "compiling")
    return state()


def test_staging_file_is_a_program_when_it_is_renamed(mount: Mount) -> None:
    staged = mount.path / "programs/.saxpy.mlir.tmp"
    staged.write_text(SAXPY)
    assert os.listdir(mount.path / "programs") == [".saxpy.mlir.tmp"]
    assert staged.read_text() == SAXPY
    assert compiled(staged) == "ready"
    os.rename(staged, mount.path / "programs/saxpy.mlir")
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert sorted(os.listdir(mount.path / "programs")) == ["saxpy", "saxpy.mlir"]


@pytest.mark.parametrize("text", ["garbage", "module { garbage() }"])
def test_rename_of_a_bad_staging_file_fails_as_its_compile_did(mount: Mount, text: str) -> None:
    mount.add("saxpy.mlir", SAXPY)
    staged = mount.path / "programs/.new"
    staged.write_text(text)
    if "(" in text:
        assert compiled(staged).startswith("EINVAL")
    with pytest.raises(OSError) as caught:
        os.rename(staged, mount.path / "programs/saxpy.mlir")
    assert caught.value.errno == errno.EINVAL
    assert staged.read_text() == text
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    mount.sh("cat programs/saxpy/status | grep -q 'state ready'")


def test_listing_waits_for_no_compile_of_a_renamed_program(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    slow = own_mount.path / "programs/.slow"
    slow.write_text(sines(20_000))
    os.rename(slow, own_mount.path / "programs/slow.mlir")
    own_mount.sh("ls programs && touch programs/.other && ln -s saxpy programs/link")
    assert own_mount.keyed("programs/slow/status")["state"] == "compiling"
    own_mount.sh("rm programs/slow.mlir")  # and with it the compile
    eventually(lambda: "jaxfs_running_jobs 0" in (own_mount.path / "metrics").read_text())


def test_program_can_be_renamed(mount: Mount) -> None:
    mount.add("a.mlir", SAXPY)
    mount.sh("mv programs/a.mlir programs/b.mlir")
    assert sorted(os.listdir(mount.path / "programs")) == ["b", "b.mlir"]
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/b/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


def test_install_and_mv_replace_a_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    (mount.path.parent / "double.mlir").write_text(DOUBLE)
    mount.sh(
        "install -m 644 ../double.mlir programs/.s.mlir && mv programs/.s.mlir programs/saxpy.mlir"
    )
    eventually(lambda: (mount.path / "programs/saxpy.mlir").read_text() == DOUBLE)


def test_rsync_deploys_a_program(mount: Mount) -> None:
    if subprocess.run(["which", "rsync"], capture_output=True, check=False).returncode:
        pytest.skip("rsync is not installed")
    (mount.path.parent / "saxpy.mlir").write_text(SAXPY)
    mount.sh("rsync -a ../saxpy.mlir programs/")
    eventually(lambda: mount.keyed("programs/saxpy/status")["state"] == "ready")


def test_result_moves_to_an_array_before_it_is_there(mount: Mount) -> None:
    mount.add("spin.mlir", SPIN)
    (mount.path / "programs/spin/calls/s").write_text(f"{SECONDS // 2}\n")
    os.rename(mount.path / "results/s", mount.path / "arrays/turns")
    assert mount.keyed("arrays/turns.status")["state"] == "pending"
    assert not (mount.path / "results/s").exists()
    assert (mount.path / "arrays/turns.json").read_text() == f"{SECONDS // 2}\n"
    assert mount.keyed("arrays/turns.status")["state"] == "ready"


def test_renamed_array_is_the_same_file_to_who_writes_it(mount: Mount) -> None:
    (mount.path / "arrays/w").write_text("[1.5]\n")
    number = (mount.path / "arrays/w").stat().st_ino
    with (mount.path / "arrays/w").open("w") as file:
        file.write("[2.5, 3.5]\n")
        file.flush()
        moved_away(mount)
        assert (mount.path / "arrays/z").stat().st_ino == number
    assert numbers(mount, "arrays/z") == [2.5, 3.5]
    assert os.listdir(mount.path / "arrays") == ["z"]


def test_mode_of_a_result_goes_with_it(step: Mount) -> None:
    (step.path / "programs/step/calls/s").write_text("[1,2,3,4] [1,2,3,4]\n")
    os.chmod(step.path / "results/s", 0o400)
    os.link(step.path / "results/s", step.path / "arrays/linked")
    os.rename(step.path / "results/s", step.path / "arrays/moved")
    for name in ("linked", "moved"):
        assert (step.path / "arrays" / name).stat().st_mode & 0o777 == 0o600


def test_program_can_change_its_extension(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("mv programs/saxpy.mlir programs/saxpy.mlirbc")
    assert sorted(os.listdir(mount.path / "programs")) == ["saxpy", "saxpy.mlirbc"]
    assert (mount.path / "programs/saxpy.mlirbc").read_text() == SAXPY


def test_failed_rename_leaves_a_failed_program_as_it_was(mount: Mount) -> None:
    with pytest.raises(OSError):
        mount.add("bad.mlir", "first")
    (mount.path / "programs/.new").write_text("second")
    with pytest.raises(OSError):
        os.rename(mount.path / "programs/.new", mount.path / "programs/bad.mlir")
    assert (mount.path / "programs/bad.mlir").read_text() == "first"


def test_tools_that_write_a_temporary_file_write_arrays_and_calls(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    arrays, calls = mount.path / "arrays", mount.path / "programs/saxpy/calls"
    save_file({"w": np.ones(3, np.float32)}, arrays / "w.safetensors")
    assert (arrays / "w.json").read_text() == "[1.0, 1.0, 1.0]\n"
    (calls / ".c.Ab12Cd").write_text("[1,1,1,1] [0,0,0,0]")
    os.rename(calls / ".c.Ab12Cd", calls / "c")
    assert (mount.path / "results/c.json").read_text() == "[2.0, 2.0, 2.0, 2.0]\n"
    with tempfile.NamedTemporaryFile("wb", dir=arrays, delete=False) as file:
        np.save(file, np.zeros(2))
    os.replace(file.name, arrays / "z")
    assert np.load(arrays / "z").tolist() == [0, 0]
    (arrays / "s.json").write_text("[1, 2]")
    for number in range(8):  # names of letters only are names of arrays
        mount.sh(f"sed -i s/{number + 1}/{number + 2}/g arrays/s.json")
    assert (arrays / "s.json").read_text() == "[9, 9]\n"
    assert mount.keyed("health")["internal_errors"] == "0"
