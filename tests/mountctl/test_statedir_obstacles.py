"""What lies in the place of the log or the lock does not keep a state directory from being used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mountctl import statedir

OBSTACLES: dict[str, Callable[[Path], object]] = {"folder": Path.mkdir, "pipe": os.mkfifo}


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("name", [statedir.LOG_NAME, statedir.LOCK_NAME, statedir.MODE_NAME])
def test_what_is_no_file_is_no_obstacle(name: str, obstacle: str, tmp_path: Path) -> None:
    OBSTACLES[obstacle](tmp_path / name)
    with statedir.prepared(tmp_path, "/mnt") as state:
        if name != statedir.LOCK_NAME:  # the daemon replaces that one
            assert not os.path.lexists(state / name)
            assert list(state.glob(f"{name}.damaged-*"))
