"""What a worker compiles itself is kept for its user alone."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from jaxfs.engine.worker import compile_cache
from jaxfs.programs.state_folders import UNUSED_S, remove_compile_caches

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be others")
ALICE = 12345
COMPILES = textwrap.dedent("""
    import os, sys
    import jax
    from jaxfs.engine.worker import compile_cache
    from jaxfs.posix import privileges
    user = privileges.User(int(sys.argv[2]), int(sys.argv[2]), (), "/") if sys.argv[2] else None
    compile_cache.use(sys.argv[1], user)
    hits = []
    jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
    x = jax.ShapeDtypeStruct((3,), "float32")
    jax.jit(lambda x: x + 1).lower(x).compile()  # imports what it needs
    if user is not None:
        privileges.become(user, os.getppid())
    jax.jit(lambda x: x * 2).lower(x).compile()
    print(hits.count("/jax/compilation_cache/cache_hits"))
""")


def compiled(state_dir: Path, uid: int | None = None) -> tuple[int, str]:
    """Compiles two programs in a process; returns how many were found, and what it wrote."""
    command = [sys.executable, "-c", COMPILES, str(state_dir), "" if uid is None else str(uid)]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    return int(done.stdout), done.stderr


def test_what_is_compiled_is_found_again_in_a_directory_of_the_user(tmp_path: Path) -> None:
    assert compiled(tmp_path)[0] == 0
    assert compiled(tmp_path)[0] == 2
    directory = tmp_path / f"xla-{os.getuid()}"
    assert directory.stat().st_mode & 0o7777 == 0o700


@needs_root
def test_a_users_worker_keeps_it_where_no_other_user_gets(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)  # as a state directory: the user cannot walk there
    assert compiled(tmp_path, ALICE)[0] == 0
    assert compiled(tmp_path, ALICE)[0] == 2
    assert compiled(tmp_path)[0] == 0
    status = (tmp_path / f"xla-{ALICE}").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (ALICE, 0o700)


@needs_root
@pytest.mark.parametrize("kind", ["of another user", "link"])
def test_a_directory_that_is_not_the_users_is_not_used(tmp_path: Path, kind: str) -> None:
    place = tmp_path / f"xla-{ALICE}"
    if kind == "link":
        (tmp_path / "other").mkdir()
        place.symlink_to("other")
    else:
        place.mkdir()
    hits, words = compiled(tmp_path, ALICE)
    assert hits == 0
    assert f"xla-{ALICE} keeps nothing that is compiled" in words
    assert not list(place.iterdir())


def test_it_stays_below_its_limit_and_keeps_what_was_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compile_cache, "CACHE_BYTES", 250)
    directory = tmp_path / f"xla-{os.getuid()}"
    directory.mkdir(mode=0o700)
    (directory / "link").symlink_to(tmp_path)
    for age, name in enumerate(["new", "middle", "old", "oldest"]):
        path = directory / name
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - age * 100,) * 2)
    fd = os.open(directory, os.O_RDONLY)
    compile_cache._shrink(fd)
    os.close(fd)
    assert sorted(path.name for path in directory.iterdir()) == ["link", "middle", "new"]


def test_caches_of_users_without_programs_go_when_they_are_old(tmp_path: Path) -> None:
    long_ago = time.time() - UNUSED_S - 100
    for name in ("xla-1", "xla-2", "xla-3", "xla-x"):
        (tmp_path / name).mkdir()
        if name != "xla-3":
            os.utime(tmp_path / name, (long_ago, long_ago))
    remove_compile_caches(tmp_path, {1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["xla-1", "xla-3", "xla-x"]
