"""A machine whose accelerators a test decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.posix.machines import FakeMachine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """A machine without accelerators, and without plugins."""
    return FakeMachine(tmp_path, monkeypatch)
