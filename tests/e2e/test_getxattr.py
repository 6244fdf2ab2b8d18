"""getxattr(2): the types of arrays."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Mount


def test_extended_attributes_tell_types(step: Mount) -> None:
    (step.path / "arrays/w").write_text("[1.0, 2, 3, 4]\n")
    (step.path / "programs/step/calls/s").write_text("arrays/w arrays/w\n")
    for name in ("arrays/w", "results/s"):
        path = step.path / name
        found = {key: os.getxattr(path, key).decode() for key in os.listxattr(path)}
        assert found == {
            "user.jaxfs.dtype": "f32",
            "user.jaxfs.shape": "4",
            "user.jaxfs.nbytes": "16",
            "user.jaxfs.device": "cpu:0",
        }
    with pytest.raises(OSError, match="No data"):
        os.getxattr(step.path / "arrays/w", "user.jaxfs.other")
