"""Transformed and specialized programs."""

from __future__ import annotations

import pytest
import trio

from jaxfs.errors import BrokenProgram, Invalid, NotSupported
from jaxfs.programs import derived
from jaxfs.programs.build_key import BuildKey
from jaxfs.testing import eventually_async
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving


async def test_a_path_is_an_expression() -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.ask("transformations/vmap:in_axes=0/grad/double/call", "[1, 2]")
        steps = [job.steps for job in mount.compiler.jobs if job.kind == "trace"][-1]
        assert steps == ("vmap", "grad")  # options that are the default are left out


async def test_a_transformed_program_runs_its_own_function() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.functions["grad__double"] = lambda x: x * 0 + 2
        reply = await mount.client.ask("transformations/grad/double/call", "[5, 6]")
        assert reply == b"[2.0, 2.0]\n"


async def test_looking_around_makes_nothing_and_looking_into_it_does() -> None:
    async with serving(double=DOUBLE) as mount:
        path = "transformations/grad/double"
        mount.client.listing(path)
        status = await mount.client.keyed(f"{path}/status")
        assert status["state"] == "unused"
        assert mount.compiler.count("trace") == 1
        await mount.client.read(f"{path}/signature")
        assert (await mount.client.keyed(f"{path}/status"))["state"] == "ready"


async def test_a_transformation_is_made_again_when_its_program_is_replaced() -> None:
    async with serving(p=DOUBLE) as mount:
        await mount.client.ask("transformations/jit/p/call", "[1, 2]")
        await mount.client.write("programs/p.mlir", "negate(x: f32[2]) -> f32[2]")
        assert await mount.client.ask("transformations/jit/p/call", "[1, 2]") == b"[-1.0, -2.0]\n"


async def test_specializations_are_made_again_when_their_program_is_replaced() -> None:
    async with serving(p=UNTYPED) as mount:
        assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[2, 4]\n"
        await mount.client.write("programs/p.mlir", "negate(x)")
        assert mount.client.ls("programs/p/specializations") == []
        assert await mount.client.ask("programs/p/call", "[1, 2]") == b"[-1, -2]\n"


async def test_a_transformation_of_an_untyped_program_is_specialized_too() -> None:
    async with serving(p=UNTYPED) as mount:
        path = "transformations/vmap/p"
        assert await mount.client.ask(f"{path}/call", "[1, 2]") == b"[2, 4]\n"
        assert mount.client.ls(f"{path}/specializations") == ["i32_2"]


async def test_a_transformation_that_is_impossible_is_not_supported_with_the_reason() -> None:
    async with serving(double=DOUBLE) as mount:
        path = "transformations/grad/double"
        mount.compiler.fail("trace", NotSupported("grad needs a scalar"))
        with pytest.raises(BrokenProgram):
            await mount.client.read(f"{path}/signature")
        assert await mount.client.text(f"{path}/error") == "EOPNOTSUPP: grad needs a scalar\n"
        with pytest.raises(NotSupported, match="scalar"):
            await mount.client.ask(f"{path}/call", "[1, 2]")


async def test_callers_who_wait_for_one_transformation_share_its_compile() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.compiler.hold("compile")
        replies = list[bytes]()

        async def ask() -> None:
            replies.append(await mount.client.ask("transformations/grad/double/call", "[1, 2]"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask)
            await eventually_async(lambda: mount.compiler.count("compile") == 2)
            mount.compiler.release("compile")
        assert replies == [b"[2.0, 4.0]\n"] * 5
        assert mount.compiler.count("compile") == 2


async def test_the_specialization_not_used_for_longest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(derived, "MAX_SPECIALIZATIONS", 2)
    async with serving(p=UNTYPED) as mount:
        for request in ("1", "[1]", "1", "[1, 2]"):
            await mount.client.ask("programs/p/call", request)
        assert mount.client.ls("programs/p/specializations") == ["i32", "i32_2"]


async def test_many_inputs_have_a_specialization_of_limited_length() -> None:
    names = ", ".join(f"x{n}" for n in range(40))
    async with serving(p=f"identity({names})") as mount:
        await mount.client.ask("programs/p/call", " ".join(["1"] * 40))
        (name,) = mount.client.ls("programs/p/specializations")
        assert name.startswith("40-inputs-")


async def test_a_program_that_is_removed_takes_its_transformations_along() -> None:
    async with serving(double=DOUBLE, add=ADD) as mount:
        await mount.client.ask("transformations/grad/double/call", "[1, 2]")
        mount.client.unlink("programs/double.mlir")
        assert mount.client.ls("transformations/grad") == ["help"]
        assert not mount.client.exists("transformations/grad/double")


@pytest.mark.parametrize(
    "step", ["grad:nothing=1", "vmap:axis_size=x", "hessian:argnums=a", "jvp:x=1"]
)
async def test_wrong_options_are_refused_by_name(step: str) -> None:
    async with serving(double=DOUBLE) as mount:
        with pytest.raises(Invalid, match=step.partition(":")[0]):
            await mount.client.ask(f"transformations/{step}/double/call", "[1, 2]")


def test_no_inputs_at_all_are_types() -> None:
    untyped = BuildKey("5feceb66")
    key = untyped.then((), ())
    assert key.types == ()
    assert key.then(("vmap",), None).types == ()
    assert untyped.cache_parts == []
    assert key.cache_parts == [(), (), []]
