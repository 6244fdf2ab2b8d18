"""Walking the tree is safe, and every file is what the node table says."""

from __future__ import annotations

import os
import stat

import pytest

from jaxfs.vfs.node_specs import DirectorySpec, FileSpec
from jaxfs.vfs.node_table import SPECS
from tests.conftest import SAXPY, Mount
from tests.e2e.programs import SECONDS
from tests.e2e.requests import (
    start,
)


@pytest.fixture
def busy(mount: Mount) -> Mount:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh("echo '[1,2,3,4] [1,2,3,4]' > programs/saxpy/calls/job1; cat results/job1 > /dev/null")
    mount.sh("ln -s saxpy programs/name; echo '[1.5]' > arrays/w")
    mount.sh("ln -s ../../../arrays/w programs/saxpy/inputs/0; cp arrays/w programs/saxpy/inputs/1")
    return mount


def test_find_ls_grep_du_and_cp_end(busy: Mount) -> None:
    done = busy.sh(
        "find . >/dev/null && ls -lR . >/dev/null && du -a . >/dev/null && grep -rq saxpy ."
    )
    assert not done.stderr
    busy.sh("rm -rf ../copy && cp -r . ../copy")
    assert (busy.path.parent / "copy/results/job1").stat().st_size > 0


def test_walking_runs_nothing(busy: Mount) -> None:
    before = busy.keyed("programs/saxpy/stats")["calls"]
    busy.sh("grep -r f32 . >/dev/null; find . -type f -exec head -c 1 {} + >/dev/null")
    assert busy.keyed("programs/saxpy/stats")["calls"] == before


def test_sizes_are_what_can_be_read(busy: Mount) -> None:
    volatile = {"health", "metrics", "quota"}  # numbers that change meanwhile
    for folder, _, files in os.walk(busy.path):
        for name in files:
            path = os.path.join(folder, name)
            if name not in volatile:
                with open(path, "rb") as file:
                    assert os.stat(path).st_size == len(file.read()), path


def test_modes_never_promise_what_a_file_cannot_do(busy: Mount) -> None:
    for folder, folders, files in os.walk(busy.path):
        for name in files:
            path = os.path.join(folder, name)
            mode = stat.S_IMODE(os.stat(path).st_mode)
            assert not mode & 0o111, path
            if not mode & 0o222:
                with pytest.raises(PermissionError):
                    os.close(os.open(path, os.O_WRONLY))
        assert all(os.path.isdir(os.path.join(folder, name)) for name in folders)


def test_readme_names_every_row_and_every_errno(mount: Mount) -> None:
    text = (mount.path / "README").read_text()
    for row in SPECS:
        suffix = "/" if isinstance(row, DirectorySpec) else "  ("
        assert not row.pattern or f"    {row.pattern}{suffix}" in text
    assert "EINVAL" in text
    assert "ENOEXEC" in text


def test_every_listed_row_is_found_in_a_busy_mount(busy: Mount) -> None:
    def shape(path: str) -> str:
        parts = path.split("/")
        if parts[0] == "devices" and len(parts) > 1:
            parts[1] = "<device>"
        if parts[0] == "results" and len(parts) > 1:
            parts[1] = "<id>"
        if parts[0] == "transformations" and len(parts) > 1 and parts[1] != "help":
            parts[1] = "<transformation>"
        if parts == ["programs", "name"]:
            parts[1] = "<link>"
        elif parts[0] == "programs" and len(parts) > 1:
            parts[1] = "<program>.<ext>" if "." in parts[1] else "<program>"
            if len(parts) > 3:
                kinds = {"inputs/0": "<link>", "inputs/1": "<array>"}
                parts[3] = kinds.get("/".join(parts[2:]), "<id>")
        if parts[0] == "arrays" and len(parts) > 1:
            parts[1] = "<name>"
        return "/".join(parts)

    seen = {
        shape(os.path.relpath(os.path.join(folder, name), busy.path))
        for folder, folders, files in os.walk(busy.path)
        for name in folders + files
    }
    staging = {"programs/.<name>", "arrays/.<name>", "programs/<program>/calls/.<name>"}
    hidden = {"", "results/<id>.<view>", *staging}
    expected = {
        row.pattern
        for row in SPECS
        if row.pattern not in hidden
        and (not isinstance(row, FileSpec) or row.listed)
        and not row.pattern.startswith("results/<id>.")
    }
    assert seen == expected


def test_control_text_ends_in_a_newline(busy: Mount) -> None:
    for name in ("version", "health", "programs/saxpy/status", "programs/saxpy/device"):
        assert (busy.path / name).read_bytes().endswith(b"\n")


def test_walking_waits_for_nothing_but_pending_results(spin: Mount) -> None:
    start(spin, "slow", SECONDS * 2)
    spin.sh("ls -lR . > /dev/null; find . > /dev/null; stat results/slow > /dev/null")
    assert spin.keyed("results/slow.status")["state"] == "running"
