"""Names: which are there, and what they stand for."""

from __future__ import annotations

import pytest

from jaxfs.errors import Invalid, NotFound
from jaxfs.testing import VfsClient
from tests.unmounted import ADD, DOUBLE, serving


@pytest.mark.parametrize(
    "path",
    [
        "nothing",
        "programs/nothing",
        "programs/add.pkl",
        "programs/add/nothing",
        "programs/add/calls/nothing",
        "programs/add/calls/no.such",
        "programs/add/inputs/nothing",
        "programs/add/specializations/f32",
        "results/nothing",
        "arrays/nothing",
        "arrays/nothing.npy",
        "devices/cpu:9",
        "transformations/nothing",
        "transformations/grad/nothing",
        "version/below",
    ],
)
async def test_a_name_that_is_not_there_is_not_found(path: str) -> None:
    async with serving(add=ADD) as mount:
        with pytest.raises(NotFound):
            mount.client.stat(path)


@pytest.mark.parametrize("suffix", ["", ".npy", ".npz", ".safetensors", ".raw", ".json"])
async def test_a_program_has_a_call_file_for_each_input_format(suffix: str) -> None:
    async with serving(add=ADD) as mount:
        assert mount.client.exists(f"programs/add/call{suffix}")


@pytest.mark.parametrize("view", ["0", "total", "txt", "json", "csv", "0.txt", "status", "error"])
async def test_a_result_is_found_by_views_that_are_not_listed(view: str) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        assert mount.client.exists(f"results/1.{view}")
        assert mount.client.ls("results") == ["1"]


async def test_a_view_that_the_format_cannot_have_is_not_found() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        for view in ("1", "other", "0.nothing", "nothing"):
            assert not mount.client.exists(f"results/1.{view}")


async def test_an_inode_stays_while_its_object_lives() -> None:
    async with serving(add=ADD) as mount:
        before = mount.client.stat("programs/add").ino
        await mount.client.write("programs/add.mlir", DOUBLE)
        await mount.client.rename("programs/add.mlir", "programs/other.mlir")
        assert mount.client.stat("programs/other").ino == before


async def test_a_name_used_again_is_another_inode() -> None:
    async with serving(add=ADD) as mount:
        before = mount.client.stat("programs/add").ino
        mount.client.unlink("programs/add.mlir")
        await mount.client.write("programs/add.mlir", ADD)
        assert mount.client.stat("programs/add").ino != before


async def test_every_file_of_a_mount_can_be_read_and_has_its_size() -> None:
    def files(client: VfsClient, path: str) -> list[str]:
        found = list[str]()
        for name, attributes in client.listing(path).items():
            below = f"{path}/{name}"
            found += files(client, below) if attributes.is_dir else [below]
        return found

    async with serving(add=ADD, double=DOUBLE) as mount:
        client = mount.client
        await client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await client.write("arrays/w", "[1, 2]")
        await client.read("transformations/grad/double/signature")
        paths = files(client, "")
        assert {"/health", "/programs/add/status", "/arrays/w", "/results/1"} <= set(paths)
        for path in paths:
            content = await client.read(path)
            if path.rpartition("/")[2] not in ("health", "metrics", "trace", "graph.svg"):
                assert client.stat(path).size == len(content), path


async def test_a_symbolic_link_leads_to_the_program() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.client.symlink("../transformations/grad/double", "programs/slope")
        assert await mount.client.ask("programs/slope/call", "[1, 2]") == b"[2.0, 4.0]\n"


async def test_links_in_a_circle_are_refused() -> None:
    async with serving() as mount:
        mount.client.symlink("b", "programs/a")
        mount.client.symlink("a", "programs/b")
        with pytest.raises(Invalid, match="too many symbolic links"):
            mount.client.stat("programs/a/status")


async def test_a_transformation_of_a_link_is_of_what_it_leads_to() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.client.symlink("../transformations/grad/double", "programs/slope")
        mount.client.symlink("slope", "programs/again")
        names = await mount.client.keyed("transformations/jit/again/options")
        assert names == {"step_0": "jit", "step_1": "grad"}


@pytest.mark.parametrize("target", ["/elsewhere", "..", "nothing", "../arrays/w", "self"])
async def test_a_link_that_leads_to_no_program_cannot_be_transformed(target: str) -> None:
    async with serving(double=DOUBLE) as mount:
        mount.client.symlink(target, "programs/self")
        assert not mount.client.exists("transformations/grad/self")


async def test_an_option_that_a_transformation_does_not_have_is_refused() -> None:
    async with serving(double=DOUBLE) as mount:
        with pytest.raises(Invalid, match="argnums"):
            mount.client.stat("transformations/grad:argnum=1/double")
        assert "EINVAL" in await mount.client.text("error_log")
