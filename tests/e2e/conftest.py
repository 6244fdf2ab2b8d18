"""Mounts with a program."""

from __future__ import annotations

import pytest

from tests.conftest import SAXPY, Mount
from tests.e2e.programs import SPIN, STEP


@pytest.fixture
def saxpy(mount: Mount) -> Mount:
    mount.add("saxpy.mlir", SAXPY)
    return mount


@pytest.fixture
def spin(mount: Mount) -> Mount:
    mount.add("spin.mlir", SPIN)
    return mount


@pytest.fixture
def step(mount: Mount) -> Mount:
    mount.add("step.mlir", STEP)
    return mount
