"""Listing directories."""

from __future__ import annotations

import stat

from jaxfs.testing import FakeEngines, InProcessMount
from tests.unmounted import ADD, DOUBLE, UNTYPED, serving


async def test_the_root_lists_its_files_and_directories() -> None:
    async with serving() as mount:
        names = mount.client.listing("")
        directories = {name for name, attributes in names.items() if attributes.is_dir}
        assert directories == {"arrays", "devices", "programs", "results", "transformations"}
        assert {"README", "version", "health", "error_log", "metrics", "trace"} <= set(names)


async def test_programs_lists_sources_directories_links_and_staging_files() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "half a program")
        mount.client.symlink("add", "programs/plus")
        listing = mount.client.listing("programs")
        kinds = {name: stat.S_IFMT(found.mode) for name, found in listing.items()}
        assert kinds == {
            "add": stat.S_IFDIR,
            "add.mlir": stat.S_IFREG,
            ".new": stat.S_IFREG,
            "plus": stat.S_IFLNK,
        }


async def test_results_lists_calls_once_they_are_submitted() -> None:
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file("programs/add/calls/1", 0o101)
        await file.write(b"[1, 2]")
        assert mount.client.ls("results") == []
        await file.write(b" [3, 4]")
        await file.close()
        assert mount.client.ls("results") == ["1"]


async def test_calls_lists_those_of_the_program_with_their_format() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.write("programs/double/calls/2.raw", bytes(8))
        assert mount.client.ls("programs/add/calls") == ["1"]
        assert mount.client.ls("programs/double/calls") == ["2.raw"]
        assert mount.client.exists("programs/double/calls/2")
        assert not mount.client.exists("programs/add/calls/2")


async def test_specializations_lists_a_program_for_each_set_of_types() -> None:
    async with serving(twice=UNTYPED) as mount:
        await mount.client.ask("programs/twice/call", "[1, 2]")
        await mount.client.ask("programs/twice/call", "3")
        names = mount.client.ls("programs/twice/specializations")
        assert names == ["i32", "i32_2"]
        assert "in 0 x i32[2]" in await mount.client.text(
            "programs/twice/specializations/i32_2/signature"
        )


async def test_transformations_lists_all_of_them_and_below_what_was_used() -> None:
    async with serving(double=DOUBLE) as mount:
        assert {"grad", "vmap", "jit", "help"} <= set(mount.client.ls("transformations"))
        assert mount.client.ls("transformations/grad") == ["help"]
        await mount.client.read("transformations/vmap/grad:argnums=0/double/signature")
        assert mount.client.ls("transformations/vmap") == ["grad", "help"]
        assert mount.client.ls("transformations/vmap/grad") == ["double", "help"]


async def test_devices_lists_each_device() -> None:
    async with serving(engines=FakeEngines(devices=3)) as mount:
        assert mount.client.ls("devices") == ["cpu:0", "cpu:1", "cpu:2"]


async def test_a_listing_that_is_outdated_does_no_harm() -> None:
    async with serving(add=ADD) as mount:
        directory = mount.client.stat("programs").ino
        entries = mount.vfs.listing(directory, mount.client.credentials)
        mount.client.unlink("programs/add.mlir")
        for name, attributes in entries:
            mount.vfs.count_listed(directory, name, attributes.ino)
            mount.vfs.forget(attributes.ino, 1)
        assert mount.client.ls("programs") == []


async def inodes(mount: InProcessMount) -> int:
    return int((await mount.client.keyed("metrics"))["jaxfs_inodes"])


async def test_inodes_that_the_kernel_forgets_are_forgotten() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        mount.client.drop_caches()
        before = await inodes(mount)
        for path in ("", "programs", "programs/add", "programs/double", "transformations"):
            mount.client.listing(path)
        assert await inodes(mount) > before + 20
        mount.client.drop_caches()
        assert await inodes(mount) == before


async def test_what_is_removed_while_a_directory_is_listed_is_left_out() -> None:
    async with serving(add=ADD) as mount:
        for number in range(3):
            await mount.client.write(f"programs/add/calls/r{number}", "[1, 2] [3, 4]")
        ino = mount.client.stat("results").ino
        listing = mount.client.vfs.listing(ino, mount.client.credentials)
        first, _ = next(listing)
        for number in range(3):
            mount.client.unlink(f"results/r{number}")
        assert (first, list(listing)) == ("r0", [])
