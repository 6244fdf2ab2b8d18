"""Staging files in ``arrays/`` and ``calls/``: stored as they are, used when they are renamed."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest
import trio
import trio.testing
from safetensors.numpy import save as save_safetensors

from jaxfs.errors import Invalid, NameTaken, NotPermitted, OverQuota
from jaxfs.options import Options
from jaxfs.programs import names
from jaxfs.quotas import MEMORY
from jaxfs.testing import InProcessMount
from tests.unmounted import ADD, UNTYPED, npy_of, serving

STAGING = (
    ".w.Ab12Cd",
    ".tmpAb12Cd",
    ".w.swp",
    ".#w",
    ".goutputstream-A1B2C3",
    "#w#",
    "w~",
    "w.tmp",
    "w.part",
    "w.swp",
    "w.npy.tmp1234",
    "w.Ab12Cd",
    "tmp.Ab12Cd34Ef",
    "tmpab12cd_4",
    "sedAb12Cd",
    "w.mlir.o0yL6Au",
    "w.6eF09b2D",
    "w.npy.2893847283",
    "w.json123456789",
    "w.json___jb_tmp___",
    "d2utmpAb12Cd",
)
PROPER = (
    "w",
    "w.npy",
    "w.json",
    "w.safetensors",
    "4913",
    "job1",
    "tmp",
    "sediment",
    "w.0",
    "w.layer1",
)


@pytest.mark.parametrize("name", STAGING)
def test_names_of_temporary_files_are_staging_names(name: str) -> None:
    assert names.is_staging(name)
    assert names.check(name) == name


@pytest.mark.parametrize("name", PROPER)
def test_names_of_arrays_and_calls_are_no_staging_names(name: str) -> None:
    assert not names.is_staging(name)


def test_pythons_temporary_files_have_staging_names() -> None:
    for name in (tempfile.mktemp(dir="") for _ in range(100)):  # only its name
        assert names.is_staging(os.path.basename(name))


@pytest.mark.parametrize("name", STAGING)
async def test_a_staging_file_becomes_an_array_by_its_rename(name: str) -> None:
    async with serving() as mount:
        await mount.client.write(f"arrays/{name}", npy_of([1, 2]), mode=0o640)
        assert await mount.client.read(f"arrays/{name}") == npy_of([1, 2])
        assert mount.client.ls("arrays") == [name]
        await mount.client.rename(f"arrays/{name}", "arrays/w")
        assert mount.client.ls("arrays") == ["w"]
        assert await mount.client.read("arrays/w.json") == b"[1.0, 2.0]\n"
        assert mount.client.stat("arrays/w").mode & 0o777 == 0o640


@pytest.mark.parametrize("name", STAGING)
async def test_a_staging_file_is_submitted_by_its_rename(name: str) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write(f"programs/add/calls/{name}", "[1, 2] [3, 4]")
        assert mount.client.ls("programs/add/calls") == [name]
        assert mount.client.ls("results") == []
        await mount.client.rename(f"programs/add/calls/{name}", "programs/add/calls/1")
        assert mount.client.ls("programs/add/calls") == ["1"]
        assert await mount.client.read("results/1.json") == b"[4.0, 6.0]\n"


async def test_a_staging_file_replaces_an_array_in_the_format_of_the_new_name() -> None:
    weights = np.array([1, 2], np.float32)
    async with serving() as mount:
        await mount.client.write("arrays/w", "[3]")
        await mount.client.write("arrays/.tmpAb12Cd", save_safetensors({"w": weights}))
        with pytest.raises(NameTaken):
            await mount.client.rename("arrays/.tmpAb12Cd", "arrays/w", replace=False)
        await mount.client.rename("arrays/.tmpAb12Cd", "arrays/w.safetensors")
        assert await mount.client.read("arrays/w.json") == b"[1.0, 2.0]\n"
        assert mount.client.ls("arrays") == ["w"]


async def test_a_staging_file_that_is_no_array_stays_and_the_array_has_the_reason() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", "[3]")
        await mount.client.write("arrays/.w.Ab12Cd", "no array")
        for name in ("w", "fresh"):
            with pytest.raises(Invalid):
                await mount.client.rename("arrays/.w.Ab12Cd", f"arrays/{name}")
            assert (await mount.client.text(f"arrays/{name}.error")).startswith("EINVAL")
            assert f"arrays/{name}" in await mount.client.text("error_log")
        assert await mount.client.read("arrays/w.json") == b"[3]\n"
        assert await mount.client.read("arrays/.w.Ab12Cd") == b"no array"
        mount.client.unlink("arrays/.w.Ab12Cd")
        assert mount.client.ls("arrays") == ["fresh", "w"]


async def test_a_staging_file_that_is_no_call_stays_and_can_be_renamed_again() -> None:
    async with serving(add=ADD) as mount:
        calls = "programs/add/calls"
        await mount.client.write(f"{calls}/.new", "[1, 2]")
        with pytest.raises(Invalid):
            await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        assert (await mount.client.text("results/1.error")).startswith("EINVAL")
        await mount.client.write(f"{calls}/.new", "[1, 2] [3, 4]")
        await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        assert await mount.client.read("results/1.json") == b"[4.0, 6.0]\n"
        await mount.client.write(f"{calls}/.new", "[1, 2] [3, 4]")
        with pytest.raises(NameTaken):
            await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        with pytest.raises(NotPermitted, match="cannot be changed"):
            await mount.client.rename(f"{calls}/1", f"{calls}/2")


@pytest.mark.parametrize("place", ["arrays", "programs/add/calls", "programs"])
async def test_a_staging_file_may_be_closed_after_its_rename(place: str) -> None:
    """So does Rust's tempfile, and with it safetensors."""
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file(f"{place}/.tmpAb12Cd", os.O_CREAT | os.O_WRONLY)
        await file.write(ADD.encode() if place == "programs" else b"[1, 2] [3, 4]")
        new = "w.mlir" if place == "programs" else "w"
        await mount.client.rename(f"{place}/.tmpAb12Cd", f"{place}/{new}")
        await file.close()
        assert ".tmpAb12Cd" not in mount.client.ls(place)
        assert await mount.client.text("error_log") == ""


async def test_a_rename_does_not_wait_for_a_compile() -> None:
    """The kernel locks the directory for all users meanwhile."""
    async with serving(untyped=UNTYPED) as mount:
        mount.compiler.hold("compile")
        calls = "programs/untyped/calls"
        await mount.client.write(f"{calls}/.new", "[1, 2]")
        await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        assert (await mount.client.keyed("results/1.status"))["state"] == "submitting"
        mount.compiler.release("compile")
        assert await mount.client.read("results/1.json") == b"[2, 4]\n"


async def test_a_rename_that_is_interrupted_goes_on() -> None:
    async with serving(untyped=UNTYPED) as mount:
        mount.compiler.hold("compile")
        calls = "programs/untyped/calls"
        await mount.client.write(f"{calls}/.new", "[1, 2]")
        with trio.move_on_after(0):
            await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        mount.compiler.release("compile")
        assert await mount.client.read("results/1.json") == b"[2, 4]\n"
        assert mount.client.ls(calls) == ["1"]


async def write_many(mount: InProcessMount, place: str) -> None:
    for number in range(1000):
        await mount.client.write(f"{place}/.more{number}", bytes(100_000))


async def test_staging_files_are_charged_until_they_go() -> None:
    async with serving(Options(max_bytes_per_user=1 << 20), add=ADD) as mount:
        quotas, uid = mount.mount.calls.admission.quotas, mount.client.credentials.uid
        for place in ("arrays", "programs/add/calls"):
            for number in range(20):
                await mount.client.write(f"{place}/.{number}", bytes(1000))
            with pytest.raises(OverQuota, match="max_bytes_per_user"):
                await write_many(mount, place)
            for name in mount.client.ls(place):
                mount.client.unlink(f"{place}/{name}")
            assert quotas.used(uid, MEMORY) == 0
        await mount.client.write("programs/add/calls/.new", bytes(100_000))
        mount.client.unlink("programs/add.mlir")
        await mount.client.write("programs/add.mlir", ADD)
        mount.client.ls("programs/add/calls")
        assert quotas.used(uid, MEMORY) == 0


async def test_an_editor_keeps_the_old_array_as_a_backup() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", "[1]")
        await mount.client.rename("arrays/w", "arrays/w~")
        await mount.client.write("arrays/w", "[2]")
        assert mount.client.ls("arrays") == ["w", "w~"]
        mount.client.unlink("arrays/w~")
        assert await mount.client.read("arrays/w.json") == b"[2]\n"


LATE = {
    "arrays": ("w", b"[1, 2]", b" [3, 4]", "arrays/w.json", "[3, 4]"),
    "programs": ("p.mlir", b"double(x: f32[2])", b" -> y: f32[2]", "programs/p/signature", None),
}


@pytest.mark.parametrize("place", LATE)
async def test_what_is_written_after_the_rename_of_a_staging_file_is_not_lost(place: str) -> None:
    """Python's ``os.replace(file.name, target)`` before ``file.close()``."""
    name, first, rest, shown, expected = LATE[place]
    async with serving() as mount:
        file = await mount.client.open_file(f"{place}/.tmpAb12Cd", os.O_CREAT | os.O_WRONLY)
        await file.write(first)
        await mount.client.rename(f"{place}/.tmpAb12Cd", f"{place}/{name}")
        await file.write(rest)
        await file.close()
        text = await mount.client.text(shown)
        assert (expected or "y f32[2]") in text
        assert await mount.client.text("error_log") == ""


async def test_what_is_written_after_a_call_was_renamed_is_an_error_of_close() -> None:
    async with serving(add=ADD) as mount:
        calls = "programs/add/calls"
        file = await mount.client.open_file(f"{calls}/.new", os.O_CREAT | os.O_WRONLY)
        await file.write(b"[1, 2] [3, 4]")
        await mount.client.rename(f"{calls}/.new", f"{calls}/1")
        await file.write(b" [5, 6]")
        with pytest.raises(NameTaken, match="submitted already"):
            await file.close()
        assert await mount.client.read("results/1.json") == b"[4.0, 6.0]\n"


@pytest.mark.parametrize("place", ["arrays", "programs/add/calls", "programs"])
async def test_what_is_written_to_a_removed_staging_file_costs_nothing(place: str) -> None:
    async with serving(add=ADD) as mount:
        quotas, uid = mount.mount.quotas, mount.client.credentials.uid
        before = quotas.rows(uid)
        file = await mount.client.open_file(f"{place}/.new", os.O_CREAT | os.O_WRONLY)
        await file.write(bytes(100_000))
        mount.client.unlink(f"{place}/.new")
        await file.close()
        assert quotas.rows(uid) == before
