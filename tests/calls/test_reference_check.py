"""check: outputs beside those of the reference interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from jaxfs.calls import reference_check
from jaxfs.errors import Invalid, NotSupported, RunFailed
from tests.unmounted import ADD, BIG, DOUBLE, UNTYPED, npy_of, serving


async def test_equal_outputs_do_not_differ() -> None:
    async with serving(add=ADD) as mount:
        assert await mount.client.text("programs/add/check") == ""
        await mount.client.write("programs/add/check", "[1, 2] [3, 4]")
        assert await mount.client.text("programs/add/check") == (
            "out.0 name=total max_abs_difference=0 max_abs_value=6\n"
        )


async def test_the_largest_difference_is_shown() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.functions["add"] = lambda x, y: x + y + np.array([0, 0.5], np.float32)
        await mount.client.write("programs/add/check", "[1, 2] [3, 4]")
        assert "max_abs_difference=0.5 " in await mount.client.text("programs/add/check")


async def test_equal_infinities_and_nans_do_not_differ() -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.write("programs/double/check", npy_of([np.inf, np.nan]))
        assert "max_abs_difference=0 " in await mount.client.text("programs/double/check")


@pytest.mark.parametrize("dtype", ["f32", "i32", "bool", "c64", "bf16"])
async def test_random_inputs_are_made_for_each_type(dtype: str) -> None:
    source = f"identity(x: {dtype}[8]) -> {dtype}[8]"
    async with serving(same=source) as mount:
        await mount.client.write("programs/same/check", "random\n")
        assert "max_abs_difference=0 " in await mount.client.text("programs/same/check")


async def test_large_inputs_are_given_to_the_interpreter_too() -> None:
    async with serving(big=BIG) as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(100_000)))
        await mount.client.write("programs/big/check", "arrays/w")
        assert "max_abs_value=2" in await mount.client.text("programs/big/check")
        mount.client.unlink("arrays/w")
        assert mount.engine.pool.used_bytes == 0


async def test_inputs_that_are_not_there_yet_or_too_large_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        with pytest.raises(Invalid, match="not there yet"):
            await mount.client.write("programs/double/check", "results/1")
        monkeypatch.setattr(reference_check, "MAX_BYTES", 4)
        with pytest.raises(Invalid, match="4 at most"):
            await mount.client.write("programs/double/check", "[1, 2]")


async def test_a_program_without_types_needs_inputs() -> None:
    async with serving(twice=UNTYPED) as mount:
        with pytest.raises(Invalid, match="instead of random"):
            await mount.client.write("programs/twice/check", "random")
        await mount.client.write("programs/twice/check", "[1.5, 2]")
        assert "max_abs_value=4" in await mount.client.text("programs/twice/check")


async def test_a_failure_of_run_or_interpreter_is_reported() -> None:
    async with serving(add=ADD) as mount:
        mount.compiler.fail("interpret", NotSupported("no interpreter for it"))
        with pytest.raises(NotSupported, match="no interpreter"):
            await mount.client.write("programs/add/check", "random")
        mount.engine.functions["add"] = lambda x, y: x[5]
        with pytest.raises(RunFailed, match="IndexError"):
            await mount.client.write("programs/add/check", "random")


async def test_a_check_that_is_interrupted_abandons_its_run() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        with trio.move_on_after(0):
            await mount.client.write("programs/add/check", "random")
        mount.engine.release()
        assert await mount.client.ask("programs/add/call", "[1, 2] [3, 4]")


async def test_inputs_that_are_too_large_are_refused_before_they_are_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(big=BIG) as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(100_000)))
        monkeypatch.setattr(reference_check, "MAX_BYTES", 1000)
        monkeypatch.setattr(reference_check, "_bytes_of", lambda _value: pytest.fail("copied"))
        with pytest.raises(Invalid, match="400000 bytes of inputs"):
            await mount.client.write("programs/big/check", "arrays/w")
