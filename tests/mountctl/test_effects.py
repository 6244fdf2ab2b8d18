"""Effects of mount options that no other test needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from jaxfs.testing import eventually
from mountctl import mounts
from tests.conftest import SAXPY, Mount

NOBODY = 65534


@pytest.fixture(scope="module")
def unusual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount over a file, with unusual options."""
    root = tmp_path_factory.mktemp("unusual")
    for folder in [root, *root.parents]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    words = (
        f"allow_root,nonempty,platform=cpu,zygote=eager,fsname=lab,log_level=warning,"
        f"log_file={root}/elsewhere"
    )
    place = root / "jax"
    place.mkdir()
    (place / "below").write_text("there before")
    mount = Mount(place, root / "state", words)
    mount.start()
    try:
        yield mount
    finally:
        if os.path.ismount(place):
            mount.stop()


def test_fsname_is_the_source_that_mount_shows(unusual: Mount) -> None:
    (found,) = [m for m in mounts.jaxfs_mounts() if m.mountpoint == str(unusual.path)]
    assert found.source == "lab"


def test_platform_chooses_where_programs_run(unusual: Mount) -> None:
    unusual.add("saxpy.mlir", SAXPY)
    assert unusual.keyed("programs/saxpy/status")["device"] == "cpu:0"
    assert [path.name for path in (unusual.path / "devices").iterdir()] == ["cpu:0"]


def test_eager_zygote_starts_before_it_is_needed(unusual: Mount) -> None:
    eventually(lambda: unusual.keyed("health")["tracer"] == "ready", timeout_s=60)


def test_log_file_has_what_the_level_lets_through(unusual: Mount) -> None:
    log = unusual.path.parent / "elsewhere"
    assert log.exists()
    assert " INFO " not in log.read_text()
    assert not (unusual.state_dir / "log").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_allow_root_keeps_other_users_out(unusual: Mount) -> None:
    command = ["cat", str(unusual.path / "version")]
    refused = subprocess.run(
        command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
    )
    assert b"Permission denied" in refused.stderr
    assert subprocess.run(command, check=True, capture_output=True).stdout.startswith(b"jaxfs ")


def test_nonempty_hides_what_is_below_while_mounted(unusual: Mount) -> None:
    assert not (unusual.path / "below").exists()
    unusual.stop()
    assert (unusual.path / "below").read_text() == "there before"
    unusual.start()
