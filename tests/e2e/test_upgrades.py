"""State directories of earlier versions serve: what is kept in tests/fixtures was written by them.

Each is mounted as it is, without its executables (as on another kind of machine), and without all
that was made from sources (as with another JAX).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import pytest

from jaxfs.posix.cpu_features import missing_features, recorded_features
from jaxfs.testing import eventually
from tests.conftest import Mount, mounting
from tests.fixtures import observe

FIXTURES = Path(__file__).parents[1] / "fixtures"
PYTHON = "{}.{}".format(*sys.version_info)
BY_THE_COMPILER = frozenset({"compile_usec", "cost", "memory", "hlo.txt"})
BY_JAX = BY_THE_COMPILER | {"stablehlo.mlir", "graph.svg"}
JOBS = re.compile(r'^jaxfs_job_seconds_count\{job="(\w+)"\} (\d+)$', re.MULTILINE)

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="the programs belong to root and another")


@attrs.frozen
class Kept:
    """A state directory of an earlier version, and what its mount showed then."""

    archive: Path
    version: str  # the first line of the mount's file
    python: str
    options: str
    calls: dict[str, str]
    answers: dict[str, str]
    used: list[str]
    shown: dict[str, Any]

    @classmethod
    def read(cls, document: Path) -> Kept:
        return cls(document.with_suffix(".tar.gz"), **json.loads(document.read_text()))

    @property
    def name(self) -> str:
        """As ``state-4baa1b5/jax-0.10.2``."""
        return str(self.archive.relative_to(FIXTURES)).removesuffix(".tar.gz")

    @property
    def jax(self) -> str:
        return self.version.split()[3]

    def missing_features(self) -> frozenset[str]:
        """What the executables were made for and this machine lacks."""
        wanted = frozenset[str]()
        with tarfile.open(self.archive) as archive:
            for member in archive.getmembers():
                file = archive.extractfile(member) if member.isfile() else None
                if file is not None and member.name.endswith("/executable"):
                    wanted |= recorded_features(file.read())
        return missing_features(wanted)

    def without_pickles(self) -> Kept:
        """Pickled functions are bytecode of one Python; their sources stay."""
        sources = (Path(name) for name in self.shown["sources"])
        pickled = {source.stem for source in sources if source.suffix == ".pkl"}

        def other(paths: dict[str, Any]) -> dict[str, Any]:
            return {path: v for path, v in paths.items() if pickled.isdisjoint(path.split("/"))}

        names = ("programs", "transformations")
        return attrs.evolve(
            self,
            calls=other(self.calls),
            answers=other(self.answers),
            used=list(other(dict.fromkeys(self.used))),
            shown={**self.shown, **{name: other(self.shown[name]) for name in names}},
        )

    def assert_answered(self, mount: Mount) -> None:
        """Programs compute what they did."""
        assert observe.answers(mount.path, self.calls) == self.answers

    def assert_shown(self, mount: Mount, but: frozenset[str] = frozenset()) -> None:
        """All is there and as it was, apart from the files and keys ``but``."""
        shown = observe.shown(mount.path, self.shown["transformations"])
        assert list(observe.differences(_without(self.shown, but), shown)) == []

    def assert_listed(self, mount: Mount) -> None:
        """Transformed programs are listed where they were, used or not since."""
        assert set(self.used) <= set(observe.used_transformations(mount.path))


def _without(found: Any, names: frozenset[str]) -> Any:
    if not isinstance(found, dict):
        return found
    return {name: _without(value, names) for name, value in found.items() if name not in names}


KEPT = [Kept.read(document) for document in sorted(FIXTURES.glob("state-*/*.json"))]


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


OF_THIS_JAX = [kept for kept in KEPT if kept.jax == metadata.version("jax")]
READABLE = [kept for kept in KEPT if numbers(kept.jax) <= numbers(metadata.version("jax"))]


def named(kept: object) -> str:
    return kept.name if isinstance(kept, Kept) else "none-is-of-this-jax"


@contextlib.contextmanager
def upgraded(root: Path, kept: Kept, lost: tuple[str, ...] = ()) -> Iterator[Mount]:
    """This version on a copy of the state directory, which has lost these folders."""
    with tarfile.open(kept.archive) as archive:
        archive.extractall(root, filter="data")
    for name in lost:
        shutil.rmtree(root / "state" / name)
    with mounting(root, kept.options) as mount:
        eventually(lambda: not compiling(mount), timeout_s=120)
        yield mount


def compiling(mount: Mount) -> list[str]:
    """Programs that are made again, behind the mount."""
    statuses = mount.path.glob("programs/*/status")
    return [str(path) for path in statuses if observe.keyed(path)["state"] == "compiling"]


def jobs(mount: Mount) -> dict[str, int]:
    """How many there were since the mount, by kind."""
    return {kind: int(n) for kind, n in JOBS.findall((mount.path / "metrics").read_text())}


def test_there_are_state_directories_of_earlier_versions() -> None:
    assert {kept.name.partition("/")[0] for kept in KEPT} >= {"state-4baa1b5"}
    assert READABLE


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the executables are for x86-64")
@pytest.mark.parametrize("kept", OF_THIS_JAX, ids=named)
def test_nothing_is_made_again_after_an_upgrade(kept: Kept, tmp_path: Path) -> None:
    missing = kept.missing_features()
    if missing:
        pytest.skip(f"this CPU has no {' '.join(sorted(missing))}: all is compiled again")
    with upgraded(tmp_path, kept) as mount:
        kept.assert_listed(mount)
        kept.assert_shown(mount)
        kept.assert_answered(mount)
        assert jobs(mount) == {"trace": 0, "compile": 0, "load": 0, "draw": 0}
        mount.assert_log_is_clean()


@pytest.mark.parametrize("kept", OF_THIS_JAX, ids=named)
def test_where_executables_do_not_fit_artifacts_are_compiled(kept: Kept, tmp_path: Path) -> None:
    """No source is read again, and none of the executables that were there is made twice."""
    with tarfile.open(kept.archive) as archive:
        executables = sum(name.endswith("/executable") for name in archive.getnames())
    with upgraded(tmp_path, kept, lost=("executables",)) as mount:
        kept.assert_listed(mount)
        kept.assert_answered(mount)
        kept.assert_shown(mount, but=BY_THE_COMPILER)
        assert jobs(mount)["trace"] == 0
        assert 0 < jobs(mount)["compile"] <= executables
        mount.assert_log_is_clean()


@pytest.mark.parametrize("kept", READABLE, ids=named)
def test_with_another_jax_all_is_made_again_from_the_records(kept: Kept, tmp_path: Path) -> None:
    known = kept if kept.python == PYTHON else kept.without_pickles()
    with upgraded(tmp_path, kept, lost=("executables", "artifacts")) as mount:
        mount.remount()  # the records that this version writes are as good, before anything is used
        known.assert_listed(mount)
        known.assert_answered(mount)
        known.assert_shown(mount, but=BY_JAX)
        mount.remount()
        known.assert_listed(mount)
        known.assert_shown(mount, but=BY_JAX)
        if known is kept:
            assert jobs(mount) == {"trace": 0, "compile": 0, "load": 0, "draw": 0}
            mount.assert_log_is_clean()


def test_version_tells_the_number_of_the_interface(mount: Mount) -> None:
    assert mount.keyed("version")["interface"] == "1"
