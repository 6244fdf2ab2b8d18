"""open(2) with O_CREAT, mkdir(2): which names there may be."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.requests import (
    refuses_program,
)


@pytest.mark.parametrize("name", ["x", "x.exe", "-x.mlir", "a b.mlir", "é.mlir", ".a b"])
def test_other_names_are_refused(mount: Mount, name: str) -> None:
    assert refuses_program(mount, name, SAXPY) == errno.EINVAL


def test_too_long_a_name_is_refused(mount: Mount) -> None:
    assert refuses_program(mount, "a" * 130 + ".mlir", SAXPY) == errno.ENAMETOOLONG


def test_one_name_is_one_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    assert refuses_program(mount, "saxpy.mlirbc", SAXPY) == errno.EEXIST


def test_directories_cannot_be_made_or_removed(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    with pytest.raises(PermissionError):
        os.mkdir(mount.path / "programs/x")
    with pytest.raises(PermissionError):
        os.rmdir(saxpy)
    with pytest.raises(PermissionError):
        os.unlink(saxpy / "status")


def test_unsubmitted_call_of_a_removed_program_frees_its_id(mount: Mount) -> None:
    mount.add("a.mlir", SAXPY)
    mount.add("b.mlir", SAXPY)
    mount.sh(": > programs/a/calls/job")
    os.unlink(mount.path / "programs/a.mlir")
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/b/calls/job; cat results/job > /dev/null")
