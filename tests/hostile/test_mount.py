"""Hostile programs through a mount: an errno, a reason beside the program, and work goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import numpy as np
import pytest

from tests.conftest import SAXPY, Mount
from tests.hostile.corpus import CASES

WRITTEN = (
    "byte_order_mark",
    "callback_ffi",
    "config_twice",
    "export_convention_new",
    "mlirbc_damaged_8",
    "portable_damaged_149",
    "recursion_mutual",
    "type_bomb",
    "types_100000_deep",
)
NOISE = np.random.RandomState(0).randn(1000).astype("f4")
X_AND_Y = np.arange(8, dtype="f4")


def assert_works(mount: Mount) -> None:
    """A good program is compiled, called and right."""
    mount.add("good.mlir", SAXPY)
    (mount.path / "programs/good/calls/ok.raw").write_bytes(X_AND_Y.tobytes())
    found = np.frombuffer((mount.path / "results/ok.raw").read_bytes(), "f4")
    assert found.tolist() == [4, 7, 10, 13]


def processes(mount: Mount) -> tuple[int, int]:
    """How often engine and tracer were started again."""
    health = mount.keyed("health")
    return int(health["engine_restarts"]), int(health["tracer_restarts"])


@pytest.fixture
def unharmed(mount: Mount) -> Iterator[Mount]:
    """A mount that works afterwards, with the same engine and tracer."""
    before = processes(mount)
    yield mount
    assert_works(mount)
    assert processes(mount) == before


@pytest.mark.parametrize("name", WRITTEN)
def test_hostile_program_fails_its_write_with_the_reason_beside_it(
    unharmed: Mount, name: str
) -> None:
    case = CASES[name]
    with pytest.raises(OSError) as caught:
        unharmed.add("evil.mlir", case.data)
    assert caught.value.errno == case.errno
    first, *_ = (unharmed.path / "programs/evil/error").read_text().splitlines()
    assert first.startswith(errno.errorcode[case.errno])
    assert case.reason in first


def test_result_past_memory_is_enospc_with_the_number(unharmed: Mount) -> None:
    unharmed.add("evil.mlir", CASES["terabyte_result"].data)
    with pytest.raises(OSError) as caught:  # noqa: PT012  # submission or result, whichever is first
        (unharmed.path / "programs/evil/calls/one.raw").write_bytes(b"\1")
        (unharmed.path / "results/one.raw").read_bytes()
    assert caught.value.errno == errno.ENOSPC
    assert str(1 << 40) in (unharmed.path / "results/one.error").read_text()


def test_program_that_kills_the_engine_fails_its_calls_only(own_mount: Mount) -> None:
    own_mount.add("evil.mlir", CASES["sort_inconsistent"].data)
    (own_mount.path / "programs/evil/calls/one.raw").write_bytes(NOISE.tobytes())
    with pytest.raises(OSError) as caught:
        (own_mount.path / "results/one.raw").read_bytes()
    assert caught.value.errno == errno.EIO
    assert "quarantined" in (own_mount.path / "results/one.error").read_text()
    assert_works(own_mount)


def test_endless_call_ends_when_its_result_is_removed(own_mount: Mount) -> None:
    own_mount.add("evil.mlir", CASES["endless_loop"].data)
    (own_mount.path / "programs/evil/calls/one.raw").write_bytes(bytes(16))
    assert_works(own_mount)
    os.unlink(own_mount.path / "results/one")
    assert not (own_mount.path / "results/one").exists()
    os.unlink(own_mount.path / "results/ok")
    assert_works(own_mount)
