"""No two things in programs/ have one name."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from jaxfs.errors import Invalid, JaxfsError, NameTaken, NotFound
from jaxfs.testing import VfsClient
from tests.unmounted import ADD, ALICE, DOUBLE, serving


async def made_by(client: VfsClient, how: str, name: str) -> None:
    """Makes a file of a name in ``programs/`` in one of three ways."""
    if how == "written":
        await client.write(f"programs/{name}", DOUBLE)
    elif how == "renamed":
        await client.write(f"programs/.of{client.credentials.uid}", DOUBLE)
        await client.rename(f"programs/.of{client.credentials.uid}", f"programs/{name}")
    else:
        client.symlink("nothing", f"programs/{name}")


WAYS = ("written", "renamed", "linked")


@pytest.mark.parametrize(("first", "second"), [*itertools.product(WAYS, WAYS)])
@pytest.mark.parametrize("names", [("col.mlir", "col.mlir.mlir"), ("col.mlir.mlir", "col.mlir")])
async def test_no_name_hides_the_file_of_another_user(
    first: str, second: str, names: tuple[str, str]
) -> None:
    async with serving() as mount:
        for client, how, name in zip(
            (mount.client, mount.user(ALICE)), (first, second), names, strict=True
        ):
            try:
                await made_by(client, how, name)
            except (Invalid, NameTaken):
                continue
        ino = mount.client.stat("programs").ino
        listed = [name for name, _ in mount.client.vfs.listing(ino, mount.client.credentials)]
        assert len(listed) == len(set(listed))
        for name, attributes in mount.client.listing("programs").items():
            found = mount.client.stat(f"programs/{name}", follow=False)
            assert found.ino == attributes.ino, name


async def test_a_link_and_a_staging_file_do_not_hide_each_other() -> None:
    async with serving(add=ADD) as mount:
        client = mount.client
        client.symlink("add", "programs/.link")
        client.symlink("add", "programs/col.mlir")
        await client.write("programs/.staged", DOUBLE)
        for old, new in (
            (".staged", ".link"),
            ("add.mlir", ".link"),
            (".staged", "col.mlir"),
            ("add.mlir", "col.mlir"),
            (".link", ".staged"),
            (".link", "add"),
            (".link", "add.mlir"),
        ):
            with pytest.raises(NameTaken):
                await client.rename(f"programs/{old}", f"programs/{new}")
        with pytest.raises(NameTaken):
            client.symlink("add", "programs/.staged")
        assert client.ls("programs") == [".link", ".staged", "add", "add.mlir", "col.mlir"]


TARGETS = [
    "/",
    "/etc/passwd",
    "//programs/add",
    "..",
    "../..",
    "a/../../..",
    "../programs",
    "../programs/add",
    "../programs/add/../add",
    "../transformations",
    "../transformations/grad:bogus=1/add",
    "../transformations/nothing/add",
    "../transformations/grad/../../programs/add",
    "../results/1",
    ".",
    "self",
    "add\n",
    "\udcff\udcfe",
    "x" * 4095,
    "x/" * 2047,
    "é" * 2000,
    "",
]


@pytest.mark.parametrize("target", TARGETS)
async def test_a_link_to_anything_is_a_link_or_an_error_in_words(target: str) -> None:
    async with serving(add=ADD) as mount:
        client = mount.client
        try:
            client.symlink(target, "programs/self")
        except Invalid:
            assert not client.exists("programs/self")
            return
        assert client.readlink("programs/self") == target
        for use in (
            lambda: client.stat("transformations/grad/self"),
            lambda: client.stat("transformations/grad/vmap/self/status"),
            lambda: client.stat("programs/self/status"),
            lambda: client.ls("programs"),
        ):
            with contextlib.suppress(JaxfsError):
                use()
        await client.rename("programs/self", "programs/other")
        client.unlink("programs/other")
        assert mount.mount.internal_errors == 0


async def test_a_long_chain_of_links_ends() -> None:
    async with serving(add=ADD) as mount:
        client = mount.client
        client.symlink("add", "programs/l0")
        for number in range(1, 42):
            client.symlink(f"l{number - 1}", f"programs/l{number}")
        assert client.exists("transformations/jit/l38")
        with pytest.raises(NotFound):
            client.stat("transformations/jit/l41")
