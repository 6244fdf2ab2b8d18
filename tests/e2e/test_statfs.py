"""statfs(2): what df(1) shows."""

from __future__ import annotations

import os

from tests.conftest import Mount


def test_df_shows_memory(mount: Mount) -> None:
    found = os.statvfs(mount.path)
    assert found.f_blocks > 0
    assert 0 <= found.f_bfree <= found.f_blocks


def test_df_does_not_say_that_inodes_are_used_up(mount: Mount) -> None:
    assert os.statvfs(mount.path).f_files == 0
