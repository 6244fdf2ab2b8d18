"""inputs/: what calls need not bring."""

from __future__ import annotations

import os

import pytest

from jaxfs.errors import Invalid, NameTaken
from tests.unmounted import ADD, DOUBLE, PAIR, UNTYPED, npy_of, serving

SUM = b"[4.0, 6.0]\n"


@pytest.mark.parametrize("key", ["x", "0"])
@pytest.mark.parametrize("target", ["../../../arrays/w", "/mnt/jax/arrays/w", "../../../results/1"])
async def test_an_input_is_bound_by_number_or_name_to_an_array_or_a_result(
    key: str, target: str
) -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        await mount.client.write("programs/double/calls/1", "[0.5, 1]")
        mount.client.symlink(target, f"programs/add/inputs/{key}")
        assert mount.client.ls("programs/add/inputs") == [key]
        assert await mount.client.ask("programs/add/call", "[3, 4]") == SUM
        await mount.client.write("programs/add/calls/2", "[3, 4]")
        assert await mount.client.read("results/2.json") == SUM
        mount.client.unlink(f"programs/add/inputs/{key}")
        with pytest.raises(Invalid):
            await mount.client.ask("programs/add/call", "[3, 4]")


async def test_an_input_of_its_own_is_written_and_read_there() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/inputs/y", "[3.0, 4.0]")
        assert await mount.client.read("programs/add/inputs/y") == npy_of([3, 4])
        assert mount.client.stat("programs/add/inputs/y").size == len(npy_of([3, 4]))
        assert await mount.client.ask("programs/add/call", "[1, 2]") == SUM


async def test_an_input_reads_its_array_at_each_call() -> None:
    async with serving(add=ADD) as mount:
        mount.client.symlink("../../../arrays/w", "programs/add/inputs/x")
        with pytest.raises(Invalid, match="programs/add/inputs/x: there is no arrays/w"):
            await mount.client.ask("programs/add/call", "[3, 4]")
        for value in (1, 2):
            await mount.client.write("arrays/w", npy_of([value, value]))
            reply = await mount.client.ask("programs/add/call", "[0, 0]")
            assert reply == f"[{value}.0, {value}.0]\n".encode()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("z", "[1.0, 2.0]", "the inputs are x y"),
        ("7", "[1.0, 2.0]", "the inputs are x y"),
        ("x", "[1.0, 2.0, 3.0]", r"f32\[3\]"),
        ("x", "[1.0, 2.0] [3.0, 4.0]", "2 arrays for the 1 inputs"),
    ],
)
async def test_a_binding_that_does_not_fit_is_refused_at_the_call(
    key: str, value: str, reason: str
) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write(f"programs/add/inputs/{key}", value)
        for request in ("[3, 4]", "[1, 2] [3, 4]", ""):
            with pytest.raises(Invalid, match=f"{reason}|expected"):
                await mount.client.write("programs/add/calls/1", request or " ")
        assert mount.engine.pool.used_bytes == 0


async def test_an_input_bound_twice_is_refused() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/inputs/x", "[1.0, 2.0]")
        with pytest.raises(NameTaken):
            mount.client.symlink("../../../arrays/w", "programs/add/inputs/x")
        await mount.client.write("programs/add/inputs/0", "[1.0, 2.0]")
        with pytest.raises(Invalid, match="bound twice"):
            await mount.client.ask("programs/add/call", "[3, 4]")


async def test_a_pytree_is_bound_by_what_the_names_begin_with() -> None:
    async with serving(
        pair=PAIR, scaled="identity(p.w: f32[2], p.b: f32[], x: f32[2]) -> f32[2]"
    ) as mount:
        mount.engine.functions["identity"] = lambda *arrays: arrays[0] * arrays[-1] + 0
        await mount.client.write("arrays/all", "[2.0, 3.0] 1.0")
        mount.client.symlink("../../../arrays/all", "programs/scaled/inputs/p")
        assert await mount.client.ask("programs/scaled/call", "[1, 10]") == b"[2.0, 30.0]\n"


async def test_inputs_of_an_untyped_program_are_bound_by_position() -> None:
    async with serving(sums="add(x, y)", twice=UNTYPED) as mount:
        await mount.client.write("programs/sums/inputs/x", "[1.0, 2.0]")
        assert await mount.client.ask("programs/sums/call", "[3.0, 4.0]") == SUM
        await mount.client.write("programs/twice/inputs/x", "[1.5, 2.0]")
        assert await mount.client.ask("programs/twice/call", "\n") in (b"", b"[3.0, 4.0]\n")


async def test_a_transformed_program_has_inputs_of_its_own() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        mount.client.symlink("../../../../arrays/w", "transformations/jit/add/inputs/x")
        assert await mount.client.ask("transformations/jit/add/call", "[3, 4]") == SUM
        assert mount.client.ls("programs/add/inputs") == []


async def test_when_all_inputs_are_bound_an_empty_line_is_a_call() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/inputs/x", "[1.0, 2.0]")
        await mount.client.write("programs/add/inputs/y", "[3.0, 4.0]")
        await mount.client.write("programs/add/calls/1", "\n")
        assert await mount.client.read("results/1.json") == SUM


@pytest.mark.parametrize("temporary", ["CuAb12Cd", ".x.tmp", "sedAb12Cd"])
async def test_a_binding_is_replaced_by_a_rename_and_calls_go_on_meanwhile(temporary: str) -> None:
    """``ln -sf ../../../arrays/v inputs/x`` makes another link and renames that."""
    inputs = "programs/add/inputs"
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/v", "[5.0, 6.0]")
        await mount.client.write("arrays/w", "[1.0, 2.0]")
        mount.client.symlink("../../../arrays/w", f"{inputs}/x")
        mount.client.symlink("../../../arrays/v", f"{inputs}/{temporary}")
        assert await mount.client.ask("programs/add/call", "[3, 4]") == SUM
        with pytest.raises(NameTaken):
            await mount.client.rename(f"{inputs}/{temporary}", f"{inputs}/x", replace=False)
        await mount.client.rename(f"{inputs}/{temporary}", f"{inputs}/x")
        assert mount.client.ls(inputs) == ["x"]
        assert await mount.client.ask("programs/add/call", "[3, 4]") == b"[8.0, 10.0]\n"


async def test_an_array_of_its_own_gets_an_inputs_name_by_a_rename() -> None:
    inputs = "programs/add/inputs"
    async with serving(add=ADD) as mount:
        await mount.client.write(f"{inputs}/x", "[5.0, 6.0]")
        file = await mount.client.open_file(f"{inputs}/.x.tmp", os.O_CREAT | os.O_WRONLY)
        assert await mount.client.ask("programs/add/call", "[3, 4]") == b"[8.0, 10.0]\n"
        await file.write(b"[1.0, 2.0]")
        await file.close()
        await mount.client.rename(f"{inputs}/.x.tmp", f"{inputs}/x")
        assert mount.client.ls(inputs) == ["x"]
        assert await mount.client.ask("programs/add/call", "[3, 4]") == SUM
        mount.client.unlink(f"{inputs}/x")
        assert mount.client.ls(inputs) == []
