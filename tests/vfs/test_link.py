"""link(2) and symlink(2)."""

from __future__ import annotations

import pytest

from jaxfs.errors import AccessDenied, Invalid, NameTaken, NotPermitted, RunFailed
from tests.unmounted import ADD, ALICE, PAIR, serving


async def test_a_result_and_an_array_get_names_in_arrays() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        mount.client.link("results/1", "arrays/all")
        mount.client.link("results/1.p.w", "arrays/w")
        mount.client.link("arrays/all", "arrays/again")
        assert await mount.client.read("arrays/w.json") == b"[1.0, 2.0]\n"
        assert await mount.client.read("arrays/again.p.b.json") == b"3.0\n"
        assert mount.client.stat("results/1").nlink == 4


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("results/1", "arrays/w.npy", Invalid),
        ("results/1", "arrays/taken", NameTaken),
        ("results/1", "programs/p.mlir", NotPermitted),
        ("version", "arrays/w", NotPermitted),
        ("programs/pair.mlir", "arrays/w", NotPermitted),
    ],
)
async def test_other_things_and_names_are_refused(
    old: str, new: str, error: type[Exception]
) -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        await mount.client.write("arrays/taken", "1")
        with pytest.raises(error):
            mount.user(0).link(old, new)


async def test_a_failed_result_gets_no_name() -> None:
    async with serving(add=ADD) as mount:
        mount.engine.hold()
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        mount.engine.fail()
        with pytest.raises(RunFailed):
            mount.client.link("results/1", "arrays/w")
        assert mount.client.ls("arrays") == []


async def test_a_result_without_arrays_gets_no_name() -> None:
    async with serving(none="identity()") as mount:
        await mount.client.write("programs/none/calls/1", " ")
        with pytest.raises(Invalid, match="has no arrays"):
            mount.client.link("results/1", "arrays/w")


@pytest.mark.parametrize("directory", ["arrays", "results", ""])
async def test_symbolic_links_are_only_made_where_they_mean_something(directory: str) -> None:
    async with serving() as mount:
        with pytest.raises(NotPermitted, match="nothing can be linked"):
            mount.user(0).symlink("version", f"{directory}/name")


@pytest.mark.parametrize(
    ("name", "error"), [("add", NameTaken), ("grad", Invalid), ("bad name", Invalid)]
)
async def test_a_link_has_a_name_of_its_own(name: str, error: type[Exception]) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(error):
            mount.client.symlink("../transformations/jit/add", f"programs/{name}")


async def test_a_program_cannot_take_the_name_of_a_link() -> None:
    async with serving(add=ADD) as mount:
        mount.client.symlink("add", "programs/plus")
        with pytest.raises(NameTaken, match="is a link"):
            await mount.client.write("programs/plus.mlir", ADD)


async def test_a_link_belongs_to_who_made_it_and_leads_to_its_target() -> None:
    async with serving(add=ADD) as mount:
        mount.user(ALICE).symlink("../transformations/jit/add", "programs/plus")
        found = mount.client.stat("programs/plus", follow=False)
        assert (found.uid, found.size) == (ALICE, len("../transformations/jit/add"))
        assert mount.client.readlink("programs/plus") == "../transformations/jit/add"


async def test_links_in_inputs_are_made_by_the_programs_owner() -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(AccessDenied):
            mount.user(ALICE).symlink("../../../arrays/w", "programs/add/inputs/x")
