"""rename(2) between and within directories."""

from __future__ import annotations

import pytest

from jaxfs.errors import Invalid, NameTaken, NotFound, NotPermitted
from jaxfs.testing import eventually_async
from tests.unmounted import ADD, DOUBLE, serving


async def test_a_program_is_renamed_with_its_directory() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.rename("programs/add.mlir", "programs/plus.mlirbc")
        assert mount.client.ls("programs") == ["plus", "plus.mlirbc"]
        assert await mount.client.ask("programs/plus/call", "[1, 2] [3, 4]") == b"[4.0, 6.0]\n"
        assert mount.compiler.count("compile") == 1


async def test_a_program_replaces_another_one_of_the_same_extension() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        await mount.client.rename("programs/add.mlir", "programs/double.mlir")
        assert await mount.client.text("programs/double.mlir") == ADD
        assert mount.client.ls("programs") == ["double", "double.mlir"]


async def test_a_program_renamed_to_itself_stays() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.rename("programs/add.mlir", "programs/add.mlir")
        assert mount.client.ls("programs") == ["add", "add.mlir"]


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("programs/nothing.mlir", "programs/p.mlir", NotFound),
        ("programs/add.mlir", "programs/bad name.mlir", Invalid),
        ("programs/add.mlir", "programs/grad.mlir", Invalid),
        ("programs/add.mlir", "programs/p.exe", Invalid),
        ("programs/add.mlir", "programs/double.pkl", NameTaken),
        ("programs/add.mlir", "programs/link.mlir", NameTaken),
        ("programs/add.mlir", "arrays/w", NotPermitted),
        ("programs/link", "programs/add", NameTaken),
        ("arrays/w", "arrays/w.x", Invalid),
        ("arrays/w", "programs/w.mlir", NotPermitted),
        ("arrays/w.npy", "arrays/v", NotPermitted),
        ("results/1", "results/2", NotPermitted),
        ("results/1.status", "arrays/v", NotPermitted),
    ],
)
async def test_a_rename_that_cannot_be_changes_nothing(
    old: str, new: str, error: type[Exception]
) -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        root = mount.user(0)
        root.symlink("add", "programs/link")
        await root.write("arrays/w", "[1, 2]")
        await root.write("programs/add/calls/1", "[1, 2] [3, 4]")
        before = [root.ls(place) for place in ("programs", "arrays", "results", "")]
        with pytest.raises(error):
            await root.rename(old, new)
        assert [root.ls(place) for place in ("programs", "arrays", "results", "")] == before


async def test_noreplace_refuses_a_name_that_is_there() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        client = mount.client
        client.symlink("add", "programs/one")
        client.symlink("add", "programs/two")
        await client.write("arrays/v", "[1]")
        await client.write("arrays/w", "[1]")
        await client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        for old, new in (
            ("programs/add.mlir", "programs/double.mlir"),
            ("programs/one", "programs/two"),
            ("arrays/v", "arrays/w"),
            ("results/1", "arrays/w"),
        ):
            with pytest.raises(NameTaken):
                await client.rename(old, new, replace=False)


async def test_a_staging_file_is_compiled_when_it_gets_a_programs_name() -> None:
    async with serving() as mount:
        await mount.client.write("programs/.new", ADD, mode=0o640)
        assert mount.compiler.jobs == []
        await mount.client.rename("programs/.new", "programs/.newer")
        await mount.client.rename("programs/.newer", "programs/add.mlir")
        assert mount.client.ls("programs") == ["add", "add.mlir"]
        assert mount.client.stat("programs/add.mlir").mode & 0o777 == 0o640


async def test_a_bad_staging_file_keeps_its_name_and_the_program_serves() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/.new", "no program")
        for new in ("programs/add.mlir", "programs/fresh.mlir"):
            with pytest.raises(Invalid, match="not a program"):
                await mount.client.rename("programs/.new", new)
        assert mount.client.ls("programs") == [".new", "add", "add.mlir"]
        assert await mount.client.ask("programs/add/call", "[1, 2] [3, 4]") == b"[4.0, 6.0]\n"


async def test_a_program_becomes_a_staging_file_again() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.rename("programs/add.mlir", "programs/.old")
        assert mount.client.ls("programs") == [".old"]
        assert await mount.client.text("programs/.old") == ADD


async def test_a_link_is_renamed_over_another_link() -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        mount.client.symlink("add", "programs/one")
        mount.client.symlink("double", "programs/two")
        await mount.client.rename("programs/one", "programs/two")
        assert mount.client.readlink("programs/two") == "add"
        await mount.client.rename("programs/two", "programs/two")
        assert not mount.client.exists("programs/one")


async def test_a_result_moves_to_arrays_and_leaves_its_name() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.rename("results/1", "arrays/w")
        assert mount.client.ls("results") == []
        assert await mount.client.read("arrays/w.json") == b"[4.0, 6.0]\n"
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")


async def test_a_part_of_a_result_gets_a_name_and_the_result_stays() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.rename("results/1.total", "arrays/w")
        assert mount.client.ls("results") == ["1"]
        assert mount.client.stat("arrays/w").nlink == 2


async def test_an_array_is_renamed_over_another_one() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/v", "[1]")
        await mount.client.write("arrays/w", "[2]")
        await mount.client.rename("arrays/v", "arrays/w")
        await mount.client.rename("arrays/w", "arrays/w")
        assert mount.client.ls("arrays") == ["w"]
        assert await mount.client.read("arrays/w.json") == b"[1]\n"


async def test_names_that_go_with_a_removed_one_are_returned_for_the_kernel() -> None:
    async with serving(add=ADD) as mount:
        programs = mount.client.stat("programs").ino
        mount.client.stat("programs/add")
        mount.client.stat("programs/add.mlir")
        assert mount.client.unlink("programs/add.mlir") == [(programs, "add")]


async def test_a_program_removed_while_it_compiles_after_a_rename_leaves_nothing_behind() -> None:
    async with serving() as mount:
        mount.compiler.hold("compile")
        await mount.client.write("programs/.new", ADD)
        await mount.client.rename("programs/.new", "programs/add.mlir")
        await eventually_async(lambda: mount.compiler.count("compile") == 1)
        mount.client.unlink("programs/add.mlir")
        await eventually_async(lambda: not mount.mount.programs.jobs.under_way)
        assert mount.client.ls("programs") == []


async def test_an_array_renamed_to_a_format_of_another_replaces_that() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/s", "[1, 2]")
        await mount.client.write("arrays/sedabcdef", "[3, 2]")
        await mount.client.rename("arrays/sedabcdef", "arrays/s.json")
        assert mount.client.ls("arrays") == ["s"]
        assert await mount.client.text("arrays/s.json") == "[3, 2]\n"
