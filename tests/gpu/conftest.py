"""The fixtures of the engine's tests; everything here is skipped without a GPU."""

from __future__ import annotations

import pytest

from tests.engine.conftest import ON_A_GPU, PLATFORM, programs, shared

__all__ = ["GPU", "REAL", "programs", "shared"]

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not ON_A_GPU, reason="JAXFS_GPU=1 runs what needs a GPU"),
]
REAL = pytest.mark.skipif(PLATFORM == "cpu", reason="a CPU has no memory of its own")
