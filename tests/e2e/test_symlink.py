"""Symbolic links in ``programs/`` give programs names."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conftest import SAXPY, Mount

CALL = "echo '[1,1,1,1] [0,0,0,0]' > programs/{0}/calls/{1} && cat results/{1}.json"


def test_a_link_is_a_name_for_a_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("ln -s saxpy programs/alias")
    assert os.readlink(mount.path / "programs/alias") == "saxpy"
    assert mount.sh(CALL.format("alias", "l1")).stdout == "[2.0, 2.0, 2.0, 2.0]\n"
    mount.sh("mv programs/alias programs/other && ls programs/other/signature")
    mount.sh("rm programs/other")
    assert (mount.path / "programs/saxpy/status").exists()


def test_a_link_takes_a_name_and_gives_it_back(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("ln -s saxpy programs/taken")
    for name in ("programs/taken", "programs/saxpy", "programs/grad"):
        with pytest.raises(OSError) as caught:
            os.symlink("saxpy", mount.path / name)
        assert caught.value.errno in (errno.EEXIST, errno.EINVAL)
    with pytest.raises(FileExistsError):
        mount.add("taken.mlir", SAXPY)
    mount.sh("rm programs/taken")
    mount.add("taken.mlir", SAXPY)


def test_links_outlive_the_daemon(own_mount: Mount) -> None:
    own_mount.add("saxpy.mlir", SAXPY)
    own_mount.sh("ln -s saxpy programs/alias")
    own_mount.remount()
    assert own_mount.sh(CALL.format("alias", "l2")).stdout == "[2.0, 2.0, 2.0, 2.0]\n"


def test_a_link_that_leads_nowhere_is_only_a_name(mount: Mount) -> None:
    mount.sh("ln -s /nowhere programs/lost")
    assert not (mount.path / "programs/lost/call").exists()
    assert mount.sh("find . -name lost").stdout.strip() == "./programs/lost"
    mount.sh("rm programs/lost")
