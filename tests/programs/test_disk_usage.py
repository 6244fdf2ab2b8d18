"""What programs cost on the disk of the state directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
import trio.testing

from jaxfs.errors import Cancelled, Invalid, JaxfsError, OverQuota
from jaxfs.options import Options
from jaxfs.programs import derived, disk_usage
from jaxfs.quotas import DISK, PROGRAMS, STAGING
from jaxfs.testing.in_process import InProcessMount, open_vfs
from jaxfs.testing.vfs_client import VfsClient
from jaxfs.testing.waiting import eventually_async

ADD = "add(x: f32[2], y: f32[2]) -> f32[2]"
ALICE, BOB = 20001, 20002
LIMIT = 100_000


def padded(number: int, nbytes: int = 10_000) -> str:
    """Another program for each number."""
    return ADD.replace("f32[2]", f"f32[{number + 2}]").ljust(nbytes)


def used(mount: InProcessMount, uid: int) -> int:
    return mount.mount.quotas.used(uid, DISK)


def sources(mount: InProcessMount) -> int:
    return len(os.listdir(mount.state_dir / "sources"))


async def write_in_vain(user: VfsClient, path: str, source: str) -> None:
    with pytest.raises(Cancelled):
        await user.write(path, source)


async def test_one_users_programs_do_not_fill_the_disk() -> None:
    async with open_vfs(Options(max_disk_per_user=LIMIT)) as mount:
        alice = mount.user(ALICE)
        with pytest.raises(OverQuota, match="max_disk_per_user"):
            await alice.write("programs/large.mlir", padded(0, LIMIT + 1))
        assert "EDQUOT" in await alice.text("programs/large/error")
        with pytest.raises(OverQuota):  # noqa: PT012  # one of them is the first too many
            for number in range(20):
                await alice.write(f"programs/a{number}.mlir", padded(number))
        assert used(mount, ALICE) <= LIMIT
        await mount.user(BOB).write("programs/b.mlir", padded(1))
        alice.unlink("programs/a0.mlir")
        await alice.write("programs/a0.mlir", padded(0))


async def test_refused_sources_do_not_stay_on_disk() -> None:
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", ADD)
        before = sources(mount)
        for number in range(10):
            with pytest.raises(Invalid):
                await alice.write("programs/f.mlir", f"no program {number}")
        assert sources(mount) == before
        await alice.write("programs/.new", "no program at all")
        with pytest.raises(Invalid):
            await alice.rename("programs/.new", "programs/g.mlir")
        alice.unlink("programs/.new")
        assert sources(mount) == before


async def test_source_that_can_be_read_is_charged_although_it_failed() -> None:
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        bad = "no program".ljust(5000)
        with pytest.raises(Invalid):
            await alice.write("programs/bad.mlir", bad)
        assert await alice.text("programs/bad.mlir") == bad
        assert used(mount, ALICE) == 5000
        alice.unlink("programs/bad.mlir")
        assert used(mount, ALICE) == 0
        assert sources(mount) == 0


async def test_removed_program_costs_nothing_and_is_not_compiled_again() -> None:
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", padded(0))
        first = used(mount, ALICE)
        assert first > 10_000
        await alice.write("programs/g.mlir", padded(0))
        assert used(mount, ALICE) == first
        alice.unlink("programs/f.mlir")
        assert used(mount, ALICE) == first
        alice.unlink("programs/g.mlir")
        assert used(mount, ALICE) == 0
        jobs = len(mount.mount.programs.jobs.recent)
        await alice.write("programs/h.mlir", padded(0))
        assert len(mount.mount.programs.jobs.recent) == jobs
        assert used(mount, ALICE) == first


async def test_cache_of_what_no_program_uses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_usage, "CACHE_BYTES", 50_000)
    async with open_vfs() as mount:
        for number in range(20):
            await mount.client.write(f"programs/f{number}.mlir", padded(number))
            mount.client.unlink(f"programs/f{number}.mlir")
        entries = [p for p in (mount.state_dir / "artifacts").rglob("*") if p.is_file()]
        assert sum(path.stat().st_size for path in entries) <= 60_000


async def test_programs_count_after_a_remount_too(tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.user(ALICE).write("programs/f.mlir", padded(0))
        await mount.user(ALICE).ask("programs/f/call", "[1, 2] [3, 4]")
        before = used(mount, ALICE)
    async with open_vfs(Options(max_disk_per_user=LIMIT), state_dir=tmp_path) as mount:
        assert 10_000 < used(mount, ALICE) <= before
        mount.user(ALICE).unlink("programs/f.mlir")
        assert used(mount, ALICE) == 0


async def test_interrupted_and_failed_builds_cost_nothing() -> None:
    async with open_vfs(Options(max_disk_per_user=25_000)) as mount:
        alice = mount.user(ALICE)
        for number in range(5):
            try:
                await alice.write(f"programs/f{number}.mlir", padded(number))
            except JaxfsError:
                alice.unlink(f"programs/f{number}.mlir")
        for name in alice.ls("programs"):
            if "." in name:
                alice.unlink(f"programs/{name}")
        assert used(mount, ALICE) == 0


async def test_each_user_of_the_same_content_is_charged_as_long_as_it_has_it() -> None:
    async with open_vfs() as mount:
        alice, bob = mount.user(ALICE), mount.user(BOB)
        await alice.write("programs/a.mlir", padded(0))
        before = used(mount, ALICE)
        await bob.write("programs/b.mlir", padded(0))
        assert used(mount, BOB) == used(mount, ALICE) == before
        alice.unlink("programs/a.mlir")
        assert (used(mount, ALICE), used(mount, BOB)) == (0, before)
        assert await bob.text("programs/b.mlir") == padded(0)


async def test_what_the_cache_has_counts_when_it_is_used_again() -> None:
    async with open_vfs(Options(max_disk_per_user=50_000)) as mount:
        alice = mount.user(ALICE)
        for number in range(6):
            await alice.write(f"programs/f{number}.mlir", padded(number, 20_000))
            alice.unlink(f"programs/f{number}.mlir")
        with pytest.raises(OverQuota):  # noqa: PT012  # one of them is the first too many
            for number in range(6):
                await alice.write(f"programs/f{number}.mlir", padded(number, 20_000))
        assert used(mount, ALICE) <= 50_000


async def test_programs_and_staging_files_cost_their_owner_after_chown() -> None:
    async with open_vfs() as mount:
        alice, root = mount.user(ALICE), mount.user(0)
        await alice.write("programs/f.mlir", "double(x)")
        await alice.ask("programs/f/call", "[1.0]")
        await alice.write("programs/.new", "not a program")
        before = {one: mount.mount.quotas.used(ALICE, one) for one in (DISK, PROGRAMS, STAGING)}
        for name in ("f.mlir", ".new"):
            await root.chown(f"programs/{name}", BOB)
        assert {one: mount.mount.quotas.used(BOB, one) for one in before} == before
        assert {mount.mount.quotas.used(ALICE, one) for one in before} == {0}


async def test_builds_whose_program_is_gone_cost_nothing() -> None:
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        for kind in ("trace", "compile"):
            mount.compiler.hold(kind)
            async with trio.open_nursery() as nursery:
                await alice.write("programs/.one", padded(1))
                await alice.write("programs/.two", padded(2))
                for name in (".one", ".two"):
                    await alice.rename(f"programs/{name}", "programs/f.mlir")
                nursery.start_soon(write_in_vain, alice, "programs/g.mlir", padded(3))
                await trio.testing.wait_all_tasks_blocked()
                for name in ("f.mlir", "g.mlir"):
                    alice.unlink(f"programs/{name}")
                mount.compiler.release(kind)
            await trio.testing.wait_all_tasks_blocked()
            assert used(mount, ALICE) == 0
            assert sources(mount) == 0


async def test_specializations_count_as_long_as_they_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(derived, "MAX_SPECIALIZATIONS", 2)
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", "double(x)")
        counts = []
        for size in range(1, 5):
            await alice.ask("programs/f/call", str([1.0] * size))
            counts.append(used(mount, ALICE))
        assert counts[0] < counts[1] == counts[2] == counts[3]
        await alice.write("programs/f.mlir", "double(y)")
        assert used(mount, ALICE) < counts[0]


async def test_a_large_file_that_is_no_program_is_refused_before_it_is_stored(
    tmp_path: Path,
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        file = await mount.client.open_file("programs/zeros.mlir", os.O_WRONLY | os.O_CREAT)
        await file.truncate(256 << 20)
        with pytest.raises(Invalid, match="not a program"):
            await file.close()
        assert "not a program" in await mount.client.text("programs/zeros/error")
        assert not list((tmp_path / "sources").iterdir())


async def test_the_transformed_programs_of_one_program_are_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each deeper path was kept, with an executable, for as long as its program."""
    monkeypatch.setattr(derived, "MAX_TRANSFORMED", 3)
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", ADD)
        alone = used(mount, ALICE)
        for depth in range(1, 9):
            path = f"transformations/{'grad/' * depth}f"
            await alice.write(f"{path}/calls/{depth}", "[1, 2] [3, 4]")
            await alice.read(f"results/{depth}")
            if depth == 3:
                three = used(mount, ALICE)
        program = mount.mount.programs.get("f")
        assert program is not None
        assert len(program.transformed) == 3
        assert used(mount, ALICE) < 1.4 * three
        assert await alice.text("transformations/grad/f/status")  # made again at its next use
        await alice.write("transformations/grad/f/calls/again", "[1, 2] [3, 4]")
        alice.unlink("programs/f.mlir")
        for depth in (*range(1, 9), "again"):
            alice.unlink(f"results/{depth}")
        await trio.testing.wait_all_tasks_blocked()
        assert used(mount, ALICE) < alone
        assert used(mount, ALICE) == 0


async def test_a_picture_is_charged_before_it_is_written() -> None:
    async with open_vfs(Options(max_disk_per_user=LIMIT)) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", ADD)
        before = used(mount, ALICE)
        picture = await alice.read("programs/f/graph.svg")
        assert used(mount, ALICE) >= before + len(picture)
        alice.unlink("programs/f.mlir")
        assert used(mount, ALICE) == 0


async def test_a_picture_beyond_the_share_is_refused() -> None:
    async with open_vfs(Options(max_disk_per_user=LIMIT)) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/f.mlir", ADD)
        held = mount.mount.quotas.charge(ALICE, DISK, LIMIT - used(mount, ALICE))
        with pytest.raises(OverQuota, match="max_disk_per_user"):
            await alice.read("programs/f/graph.svg")
        held.refund()
        assert await alice.read("programs/f/graph.svg")


async def test_a_large_source_is_removed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_usage, "SLOW_BYTES", 1000)
    async with open_vfs() as mount:
        alice = mount.user(ALICE)
        for _ in range(3):
            await alice.write("programs/f.mlir", padded(0))
            assert sources(mount) >= 1
            alice.unlink("programs/f.mlir")
        await alice.write("programs/f.mlir", padded(0))
        await eventually_async(lambda: sources(mount) == 1)
        assert len(await alice.read("programs/f.mlir")) == 10_000
