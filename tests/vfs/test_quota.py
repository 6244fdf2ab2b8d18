"""What one user may cost, and that others do not pay for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio.testing

from jaxfs.arrays.producers import WrittenArrays
from jaxfs.errors import Invalid, JaxfsError, NameTaken, OverQuota, RunFailed
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials
from jaxfs.quotas import (
    ARRAYS,
    CALLS,
    DESCRIPTORS,
    DISK,
    FRONT,
    MEMORY,
    OPEN_FILES,
    PROGRAMS,
    RESOURCES,
    RESULTS,
    SHARED_BYTES,
    STAGING,
    UNREAD,
    Quotas,
    Resource,
)
from jaxfs.testing.in_process import InProcessMount, open_vfs
from jaxfs.testing.vfs_client import ClientFile, VfsClient

ADD = "add(x: f32[2], y: f32[2]) -> f32[2]"
REQUEST = "[1, 2] [10, 20]"
RAW = bytes(16)
MANY = 1000  # more than any limit below
ALICE, BOB = 20001, 20002
LIMITED = Options(
    allow_other=True,
    max_bytes_per_user=1 << 20,
    max_calls_per_user=20,
    max_results_per_user=30,
    max_arrays_per_user=10,
    max_open_files_per_user=40,
    max_unread_per_user=50,
    max_programs_per_user=15,
    max_disk_per_user=1 << 20,
)


@attrs.frozen
class Greed:
    """How a user takes as much as it can of a resource.

    Attributes:
        resource: What it is refused more of.
        take: Takes a little more, and returns what keeps it open.
        holds: Whether runs do not end meanwhile.
    """

    resource: Resource
    take: Callable[[VfsClient, int], Awaitable[ClientFile | None]]
    holds: bool = False


async def open_a_control_file(user: VfsClient, _number: int) -> ClientFile:
    if not user.exists("programs/mine"):
        await user.write("programs/mine.mlir", ADD)
    return await user.open_file("programs/mine/device", os.O_WRONLY)


async def leave_a_result(user: VfsClient, number: int) -> None:
    await user.write(f"programs/add/calls/u{user.credentials.uid}n{number}", REQUEST)


async def name_an_array(user: VfsClient, number: int) -> None:
    await user.write(f"arrays/u{user.credentials.uid}n{number}", "[1.0]")


async def stage_a_file(user: VfsClient, number: int) -> None:
    await user.write(f"programs/.u{user.credentials.uid}n{number}", "x")


async def stage_bytes(user: VfsClient, number: int) -> None:
    content = number.to_bytes(4) * 25_000
    await user.write(f"programs/.u{user.credentials.uid}n{number}", content)


async def leave_an_empty_program(user: VfsClient, number: int) -> None:
    path = f"programs/u{user.credentials.uid}n{number}.mlir"
    (await user.open_file(path, os.O_WRONLY | os.O_CREAT)).release()


async def make_a_link(user: VfsClient, number: int) -> None:
    user.symlink("add", f"programs/u{user.credentials.uid}n{number}")


async def open_a_file(user: VfsClient, _number: int) -> ClientFile:
    return await user.open_file("programs/add/call.raw", os.O_RDWR)


async def open_and_write(user: VfsClient, path: str, *pieces: bytes) -> ClientFile:
    file = await user.open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        for piece in pieces:
            await file.write(piece)
    except OverQuota:
        file.release()
        raise
    return file


async def upload(user: VfsClient, number: int) -> ClientFile:
    path = f"arrays/u{user.credentials.uid}n{number}"
    return await open_and_write(user, path, bytes(200_000))


async def upload_a_little(user: VfsClient, number: int) -> ClientFile:
    pieces = [b" " * 15_000] * (1 + number % 4)
    return await open_and_write(user, "programs/add/call", *pieces)


async def leave_replies(user: VfsClient, _number: int) -> ClientFile:
    return await open_and_write(user, "programs/add/call.raw", *[RAW] * 7)


async def leave_large_requests(user: VfsClient, _number: int) -> ClientFile:
    return await open_and_write(user, "programs/wide/call.raw", *[bytes(16_000)] * 7)


GREEDS = {
    "calls": Greed(CALLS, leave_a_result, holds=True),
    "results": Greed(RESULTS, leave_a_result),
    "arrays": Greed(ARRAYS, name_an_array),
    "staging files": Greed(STAGING, stage_a_file),
    "staged bytes": Greed(DISK, stage_bytes),
    "empty programs": Greed(PROGRAMS, leave_an_empty_program),
    "links": Greed(PROGRAMS, make_a_link),
    "open files": Greed(OPEN_FILES, open_a_file),
    "control files": Greed(MEMORY, open_a_control_file),
    "uploads": Greed(MEMORY, upload),
    "small uploads": Greed(MEMORY, upload_a_little),
    "unread replies": Greed(UNREAD, leave_replies),
}


async def take_all(user: VfsClient, greed: Greed) -> tuple[list[ClientFile], OverQuota]:
    """Returns the files that are open, and how more was refused."""
    files = list[ClientFile]()
    for number in range(MANY):
        try:
            file = await greed.take(user, number)
        except OverQuota as error:
            return files, error
        if file is not None:
            files.append(file)
        if not greed.holds:
            await trio.testing.wait_all_tasks_blocked()
    raise AssertionError(f"{MANY} times, and it was not refused")


def remove_all(user: VfsClient, files: list[ClientFile]) -> None:
    for file in files:
        file.release()
    for directory in ("results", "arrays", "programs"):
        for name in user.ls(directory):
            found = user.stat(f"{directory}/{name}", follow=False)
            if found.uid == user.credentials.uid and not found.is_dir:
                user.unlink(f"{directory}/{name}")
    for name in user.ls("programs/add/calls"):
        if user.stat(f"programs/add/calls/{name}").uid == user.credentials.uid:
            user.unlink(f"programs/add/calls/{name}")


@pytest.mark.parametrize("greed", GREEDS.values(), ids=GREEDS)
async def test_one_users_greed_stops_at_its_own_limit(greed: Greed) -> None:
    """The reason names the limit and its option; another user goes on; removing helps."""
    async with open_vfs(LIMITED) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write(
            "programs/wide.mlir", "add(x: f32[2000], y: f32[2000]) -> f32[2000]"
        )
        if greed.holds:
            mount.engine.hold()
        alice, bob = mount.user(ALICE), mount.user(BOB)
        files, error = await take_all(alice, greed)
        assert greed.resource.option in error.reason
        assert str(ALICE) in error.reason
        await leave_a_result(bob, 0)
        await name_an_array(bob, 0)
        held = await open_a_file(bob, 0)
        await held.write(RAW)
        held.release()
        remove_all(alice, files)
        mount.engine.release()
        file = await greed.take(alice, MANY + 1)
        remove_all(alice, [file] if file is not None else [])
        await trio.testing.wait_all_tasks_blocked()
        assert_nothing_is_charged(mount, ALICE)


def assert_nothing_is_charged(mount: InProcessMount, uid: int) -> None:
    for resource in RESOURCES:
        assert mount.mount.quotas.used(uid, resource) == 0, resource.name


async def test_quota_shows_a_user_its_own_use_and_limits() -> None:
    async with open_vfs(LIMITED) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        alice, bob = mount.user(ALICE), mount.user(BOB)
        await leave_a_result(alice, 0)
        file = await leave_replies(alice, 0)
        shown = await alice.keyed("quota")
        assert set(shown) == {resource.name for resource in RESOURCES}
        assert shown["results"] == "1 30"
        assert shown["open_files"] == "2 40"  # with quota itself
        used, limit = map(int, shown["unread_replies"].split())
        assert 7 <= used <= limit == 50
        assert (await bob.keyed("quota"))["results"] == "0 30"
        file.release()


async def test_small_objects_of_all_kinds_share_a_limit_of_the_daemons_memory() -> None:
    async with open_vfs(Options(max_front_bytes_per_user=100_000)) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        alice = mount.user(ALICE)
        _, error = await take_all(alice, Greed(FRONT, leave_a_result))
        assert "max_front_bytes_per_user" in error.reason
        _, error = await take_all(alice, Greed(FRONT, name_an_array))
        assert "max_front_bytes_per_user" in error.reason


async def test_ten_thousand_calls_of_one_user_work_by_default() -> None:
    async with open_vfs() as mount:
        mount.mount.quotas.charge(ALICE, RESULTS, 10_000)
        mount.mount.quotas.charge(BOB, OPEN_FILES, 10_000)
        mount.mount.quotas.charge(BOB, UNREAD, 10_000)


async def test_only_large_memory_costs_a_descriptor() -> None:
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        quotas = mount.mount.quotas
        for number in range(50):
            await alice.write(f"arrays/a{number}", "[1.0]")
        assert quotas.used(ALICE, DESCRIPTORS) == 0
        quotas.limits[DESCRIPTORS] = 1
        held = quotas.reserve(ALICE, SHARED_BYTES + 1)
        with pytest.raises(OverQuota, match="ulimit -n"):
            quotas.reserve(ALICE, SHARED_BYTES + 1)
        quotas.reserve(ALICE, SHARED_BYTES)()
        held()
        assert quotas.used(ALICE, DESCRIPTORS) == 0


async def test_open_sources_cost_descriptors() -> None:
    async with open_vfs() as mount:
        await mount.client.write("programs/add.mlir", ADD)
        quotas, alice = mount.mount.quotas, mount.user(ALICE)
        quotas.limits[DESCRIPTORS] = 2
        files = [await alice.open_file("programs/add.mlir") for _ in range(2)]
        with pytest.raises(OverQuota, match="ulimit -n"):
            await alice.open_file("programs/add.mlir")
        for file in files:
            file.release()
        assert_nothing_is_charged(mount, ALICE)


def test_refused_charge_changes_nothing() -> None:
    quotas = Quotas({RESULTS: 1, FRONT: 1 << 20}, limit_bytes=0)
    held = quotas.charge(ALICE, RESULTS, 1)
    with pytest.raises(OverQuota):
        quotas.charge(ALICE, RESULTS, 1)
    assert quotas.used(ALICE, FRONT) == RESULTS.front_bytes
    held.refund()
    held.refund()
    assert [used for _, used, _ in quotas.rows(ALICE)] == [0] * len(RESOURCES)


async def test_file_that_could_not_be_opened_costs_nothing() -> None:
    async with open_vfs(LIMITED) as mount:
        alice = mount.user(ALICE)
        for path, flags in (
            ("programs/none/call", os.O_RDWR),
            ("programs/.../x", os.O_RDWR | os.O_CREAT),
            ("version", os.O_WRONLY),
        ):
            with pytest.raises(JaxfsError):
                await alice.open_file(path, flags)
        with pytest.raises(JaxfsError):
            await mount.vfs.create(1, "new", 0o644, os.O_WRONLY, Credentials(ALICE, ALICE))
        assert_nothing_is_charged(mount, ALICE)


async def test_user_at_a_limit_can_still_read_why() -> None:
    async with open_vfs(Options(max_front_bytes_per_user=20_000, max_open_files_per_user=1)) as m:
        await m.client.write("programs/add.mlir", ADD)
        alice = m.user(ALICE)
        await take_all(alice, Greed(RESULTS, leave_a_result))
        assert "max_front_bytes_per_user" in await alice.text("error_log")
        used, limit = map(int, (await alice.keyed("quota"))["front_memory"].split())
        assert used > limit - RESULTS.front_bytes


async def test_programs_and_links_cost_until_they_are_gone_also_after_a_remount(
    tmp_path: Path,
) -> None:
    def used(mount: InProcessMount) -> int:
        return mount.mount.quotas.used(ALICE, PROGRAMS)

    async with open_vfs(state_dir=tmp_path) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/add.mlir", ADD)
        alice.symlink("add", "programs/sum")
        await alice.write("programs/.new", ADD)
        assert used(mount) == 2
        with pytest.raises(NameTaken):
            await alice.rename("programs/.new", "programs/sum.mlir")
        await alice.write("programs/.bad", "not a program")
        with pytest.raises(Invalid):
            await alice.rename("programs/.bad", "programs/bad.mlir")
        assert used(mount) == 2
        await alice.rename("programs/.new", "programs/plus.mlir")
        await alice.rename("programs/plus.mlir", "programs/add.mlir")
        assert used(mount) == 2
    async with open_vfs(Options(max_programs_per_user=1), state_dir=tmp_path) as mount:
        alice = mount.user(ALICE)
        assert used(mount) == 2
        with pytest.raises(OverQuota, match="max_programs_per_user"):
            alice.symlink("add", "programs/more")
        alice.unlink("programs/add.mlir")
        alice.unlink("programs/sum")
        assert used(mount) == 0
        alice.symlink("add", "programs/more")


def test_some_users_never_take_all_that_results_may_take() -> None:
    quotas = Quotas({MEMORY: 1 << 19}, 1 << 20, leaves_room=True)
    for uid in range(1, 6):
        while quotas.used(uid, MEMORY) + (1 << 10) <= (1 << 20) >> uid:
            quotas.reserve(uid, 1 << 10)
        with pytest.raises(OverQuota, match="half of what others leave"):
            quotas.reserve(uid, 1 << 10)
        assert quotas.used(uid, MEMORY) >= (1 << 20 >> uid) - (1 << 10)


async def test_unread_bytes_are_the_daemons_memory() -> None:
    async with open_vfs(Options(allow_other=True, max_front_bytes_per_user=200_000)) as mount:
        wide = "add(x: f32[2000], y: f32[2000]) -> f32[2000]"
        await mount.client.write("programs/wide.mlir", wide)
        mount.engine.hold()
        alice = mount.user(ALICE)
        files, error = await take_all(alice, Greed(FRONT, leave_large_requests))
        assert "max_front_bytes_per_user" in error.reason
        for file in files:
            file.release()
        assert mount.mount.quotas.used(ALICE, FRONT) == 0


async def test_bound_inputs_are_charged_and_cost_nothing_in_the_end() -> None:
    async with open_vfs(Options(max_arrays_per_user=4)) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/add.mlir", "add(x: f32[2], y: f32[2]) -> f32[2]")
        await alice.write("arrays/w", "[1.0, 2.0]")
        await alice.write("programs/add/inputs/0", "[1.0, 2.0]")
        alice.symlink("../../../arrays/w", "programs/add/inputs/1")
        alice.symlink("../../../arrays/w", "programs/add/inputs/2")
        with pytest.raises(OverQuota, match=r"bound inputs.*max_arrays_per_user.*inputs/"):
            alice.symlink("../../../arrays/w", "programs/add/inputs/3")
        with pytest.raises(OverQuota):
            await alice.write("programs/add/inputs/x", "[1.0, 2.0]")
        alice.unlink("programs/add/inputs/2")
        alice.symlink("../../../arrays/w", "programs/add/inputs/3")
        alice.unlink("programs/add.mlir")
        assert mount.mount.quotas.used(ALICE, ARRAYS) == 1
        alice.unlink("arrays/w")
        assert mount.mount.quotas.used(ALICE, ARRAYS) == 0


@pytest.mark.parametrize("letter", ["x", "\u1234", "\U0001f600"])
def test_the_error_that_a_result_keeps_is_short(letter: str) -> None:
    error = RunFailed("reason " + letter * 9000, "first line\n" + letter * 90_000 + "\nlast line")
    kept = WrittenArrays((), None)
    kept.error = error
    assert kept.error is not None
    assert kept.error.reason.startswith("reason ")
    assert kept.error.diagnostics.startswith("first line")
    assert kept.error.diagnostics.endswith("last line")
    assert sum(map(sys.getsizeof, (kept.error.reason, kept.error.diagnostics))) < 4500
