"""device: where a program runs."""

from __future__ import annotations

import pytest

from jaxfs.errors import BrokenProgram, Invalid, NoDevice, NotSupported
from jaxfs.testing import FakeEngines
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"


async def test_a_program_moves_to_another_device() -> None:
    async with serving(add=ADD, engines=FakeEngines(devices=2)) as mount:
        await mount.client.write("programs/add/device", "cpu:1\n")
        assert await mount.client.text("programs/add/device") == "cpu:1\n"
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == 2
        await mount.client.write("programs/add/device", "cpu:1")
        await mount.client.write("programs/add/device", "cpu:0")
        assert mount.compiler.count("compile") == 2


async def test_an_unknown_device_changes_nothing() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NoDevice, match="there are cpu:0"):
            await mount.client.write("programs/add/device", "tpu:7")
        assert await mount.client.text("programs/add/device") == "cpu:0\n"


async def test_a_program_on_several_devices_stays_there() -> None:
    async with serving(wide=f"{ADD} # devices=2", engines=FakeEngines(devices=3)) as mount:
        await mount.client.write("programs/wide/device", "cpu:0 cpu:1")
        with pytest.raises(Invalid, match="cannot be moved"):
            await mount.client.write("programs/wide/device", "cpu:2")


async def test_a_transformed_program_moves_by_itself() -> None:
    async with serving(double=DOUBLE, engines=FakeEngines(devices=2)) as mount:
        path = "transformations/grad/double"
        await mount.client.ask(f"{path}/call", "[1, 2]")
        await mount.client.write(f"{path}/device", "cpu:1")
        assert await mount.client.text(f"{path}/device") == "cpu:1\n"
        assert await mount.client.text("programs/double/device") == "cpu:0\n"


async def test_a_moved_transformation_that_does_not_compile_reports_it() -> None:
    async with serving(double=DOUBLE, engines=FakeEngines(devices=2)) as mount:
        path = "transformations/grad/double"
        await mount.client.ask(f"{path}/call", "[1, 2]")
        mount.compiler.fail("compile", NotSupported("not there"))
        with pytest.raises(NotSupported):
            await mount.client.write(f"{path}/device", "cpu:1")


async def test_an_untyped_program_moves_with_its_specializations() -> None:
    async with serving(twice=UNTYPED, engines=FakeEngines(devices=2)) as mount:
        await mount.client.ask("programs/twice/call", "[1, 2]")
        await mount.client.write("programs/twice/device", "cpu:1")
        await mount.client.ask("programs/twice/call", "[1, 2]")
        path = "programs/twice/specializations/i32_2/device"
        assert await mount.client.text(path) == "cpu:1\n"


async def test_a_program_that_never_compiled_does_not_move() -> None:
    async with serving() as mount:
        with pytest.raises(Invalid):
            await mount.client.write("programs/bad.mlir", "no program")
        with pytest.raises(BrokenProgram):
            await mount.client.write("programs/bad/device", "cpu:0")
