"""After everything that a user made is gone, the user costs nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

import hypothesis.strategies as st
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings

from jaxfs.errors import JaxfsError
from jaxfs.options import Options
from jaxfs.quotas import RESOURCES
from jaxfs.testing.in_process import InProcessMount, open_vfs
from jaxfs.testing.vfs_client import ClientFile, VfsClient

ALICE = 20001
LIMITED = Options(
    max_bytes_per_user=300_000,
    max_calls_per_user=8,
    max_results_per_user=4,
    max_arrays_per_user=4,
    max_open_files_per_user=6,
    max_unread_per_user=8,
    max_programs_per_user=4,
    max_disk_per_user=20_000,
)
PROGRAMS = {
    "add": "add(x: f32[2], y: f32[2]) -> f32[2]",
    "large": "add(x: f32[20000], y: f32[20000]) -> f32[20000]",
    "raises": "raise_it(x: f32[2], y: f32[2]) -> f32[2]",
}
WRITES = {
    "programs/{0}.mlir": (
        PROGRAMS["add"],
        "no program",
        "double(x: f32[2]) -> f32[2]" + " " * 9000,
    ),
    "programs/.{0}": ("x", bytes(90_000)),
    "arrays/{0}": ("[1.0, 2.0]", "no array", "results/a", str([0.5] * 10_000)),
    "programs/add/calls/{0}": ("[1, 2] [3, 4]", "no inputs", "arrays/a arrays/a"),
    "programs/large/calls/{0}.raw": (bytes(160_000), bytes(3)),
    "programs/raises/calls/{0}": ("[1, 2] [3, 4]",),
    "programs/add/call.raw": (bytes(16), bytes(32), bytes(5)),
    "programs/large/call.raw": (bytes(160_000), bytes(10_000)),
    "programs/add/call": ("[1, 2] [3, 4] [5", " " * 20_000),
}
names = st.sampled_from("ab")
steps = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from([(path, data) for path, all_data in WRITES.items() for data in all_data]),
        names,
    ),
    st.tuples(st.just("close"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 5), st.none()),
    st.tuples(
        st.just("unlink"),
        st.sampled_from(("programs/{}.mlir", "programs/.{}", "arrays/{}", "results/{}")),
        names,
    ),
    st.tuples(
        st.just("rename"),
        st.sampled_from(
            (
                ("programs/.{}", "programs/{}.mlir"),
                ("programs/{}.mlir", "programs/.{}"),
                ("arrays/{}", "arrays/c{}"),
                ("results/{}", "arrays/{}"),
            )
        ),
        names,
    ),
    st.tuples(st.just("hold"), st.booleans(), st.none()),
    st.tuples(st.just("link"), st.just("l{}"), names),
)


class User:
    """A user that does whatever comes, refused or not."""

    def __init__(self, mount: InProcessMount) -> None:
        self.mount = mount
        self.client: VfsClient = mount.user(ALICE)
        self.files = list[ClientFile]()

    async def do(self, step: tuple[str, object, object]) -> None:
        kind, what, which = step
        with contextlib.suppress(JaxfsError):
            with trio.move_on_after(0.01):
                await getattr(self, kind)(what, which)

    async def write(self, what: tuple[str, bytes | str], name: str) -> None:
        path, data = what
        file = await self.client.open_file(path.format(name), os.O_RDWR | os.O_CREAT)
        self.files.append(file)
        await file.write(data.encode() if isinstance(data, str) else data)

    async def close(self, number: int, flushes: bool) -> None:
        if number < len(self.files):
            file = self.files.pop(number)
            try:
                if flushes:
                    await file.flush()
            finally:
                file.release()

    async def read(self, number: int, _: None) -> None:
        if number < len(self.files):
            await self.files[number].read()

    async def unlink(self, pattern: str, name: str) -> None:
        self.client.unlink(pattern.format(name))

    async def rename(self, patterns: tuple[str, str], name: str) -> None:
        await self.client.rename(*(pattern.format(name) for pattern in patterns))

    async def hold(self, holds: bool, _: None) -> None:
        if holds:
            self.mount.engine.hold()
        else:
            self.mount.engine.release()

    async def link(self, pattern: str, name: str) -> None:
        self.client.symlink("add", f"programs/{pattern.format(name)}")

    async def remove_all(self) -> None:
        self.mount.engine.release()
        await trio.testing.wait_all_tasks_blocked()
        for file in self.files:
            file.release()
        for directory in (
            *(f"programs/{name}/calls" for name in PROGRAMS),
            "results",
            "arrays",
            "programs",
        ):
            for name in self.client.ls(directory):
                with contextlib.suppress(JaxfsError):
                    self.client.unlink(f"{directory}/{name}")
        await trio.testing.wait_all_tasks_blocked()


async def run(sequence: Sequence[tuple[str, object, object]]) -> dict[str, int]:
    async with open_vfs(LIMITED) as mount:
        for name, source in PROGRAMS.items():
            await mount.client.write(f"programs/{name}.mlir", source)
        user = User(mount)
        for step in sequence:
            await user.do(step)
        for resource in RESOURCES:
            assert mount.mount.quotas.used(ALICE, resource) >= 0, resource.name
        await user.remove_all()
        quotas = mount.mount.quotas
        assert quotas.result_bytes == 0
        return {one.name: used for one in RESOURCES if (used := quotas.used(ALICE, one))}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=25))
def test_user_without_anything_left_costs_nothing(
    sequence: list[tuple[str, object, object]],
) -> None:
    assert trio.run(run, sequence) == {}
