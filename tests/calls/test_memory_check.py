"""A run that cannot fit is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxfs.calls import memory_check
from jaxfs.engine.interface import Executable
from jaxfs.errors import NoSpace
from jaxfs.programs.compiled import MemoryNeed
from jaxfs.testing import FakeEngines
from jaxfs.types.avals import Aval
from jaxfs.types.signature import Param, Signature
from tests.unmounted import ADD, serving

HUGE = f"{ADD} # temp_bytes={1 << 60}"
LARGE = f"{ADD} # temp_bytes={64 << 20}"
REQUEST = "[1, 2] [3, 4]"


async def test_a_run_that_needs_more_than_the_machine_has_is_refused_with_the_numbers() -> None:
    async with serving(huge=HUGE) as mount:
        with pytest.raises(NoSpace, match=f"{1 << 60} temporary.*the machine has"):
            await mount.client.write("programs/huge/calls/1", REQUEST)
        with pytest.raises(NoSpace):
            await mount.client.ask("programs/huge/call", REQUEST)
        with pytest.raises(NoSpace):
            await mount.client.write("programs/huge/check", "random")
        assert not mount.engine.runs


async def test_a_run_that_needs_more_than_its_device_has_is_refused() -> None:
    wide = "sum(x: f32[5000000]) -> f32[]"
    async with serving(wide=wide, add=ADD, engines=FakeEngines(platform="cuda")) as mount:
        mount.engine.memory = {0: {"bytes_limit": 1 << 20}}
        await mount.client.read("metrics")
        with pytest.raises(NoSpace, match=r"20000000 of inputs.*cuda:0 has 1048576"):
            await mount.client.ask("programs/wide/call.raw", bytes(20_000_000))
        assert await mount.client.ask("programs/add/call", REQUEST)


async def test_the_limits_of_devices_hold_from_the_first_run() -> None:
    wide = "sum(x: f32[5000000]) -> f32[]"
    engines = FakeEngines(platform="cuda", bytes_limit=1 << 20)
    async with serving(wide=wide, engines=engines) as mount:
        with pytest.raises(NoSpace, match=r"20000000 of inputs.*cuda:0 has 1048576"):
            await mount.client.ask("programs/wide/call.raw", bytes(20_000_000))
        assert not mount.engine.runs


async def test_a_run_on_a_device_needs_memory_of_the_machine_for_its_outputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_check, "available_bytes", lambda: 1 << 20)
    wide = "sum(x: f32[2]) -> f32[5000000]"
    engines = FakeEngines(platform="cuda", bytes_limit=1 << 40)
    async with serving(wide=wide, engines=engines) as mount:
        with pytest.raises(NoSpace, match=r"20000000 of outputs.*the machine has available"):
            await mount.client.ask("programs/wide/call", "[1, 2]")
        assert not mount.engine.runs


def test_narrow_types_are_packed_on_a_device() -> None:
    aval = Aval("i4", (64,))
    signature = Signature((Param("x", aval),), (Param("", aval),))
    need = MemoryNeed.of(Executable("key", "/path", (0,), signature), {})
    assert (need.inputs, need.on_device) == (64, 64)


async def test_a_large_run_that_fits_runs() -> None:
    async with serving(large=LARGE) as mount:
        assert await mount.client.ask("programs/large/call", REQUEST) == b"[4.0, 6.0]\n"


def test_no_more_is_available_than_the_cgroup_and_those_above_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    ours = next((line[3:] for line in lines if line.startswith("0::")), "/").lstrip("/")
    place = tmp_path / ours
    place.mkdir(parents=True, exist_ok=True)
    (place / "memory.max").write_text("1000\n")
    (place / "memory.current").write_text("700\n")
    (place / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    monkeypatch.setattr(memory_check, "CGROUPS", tmp_path)
    assert memory_check.available_bytes() == 400
    (place / "memory.max").write_text("max\n")
    assert memory_check.available_bytes() > 400
