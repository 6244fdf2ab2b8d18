"""Supplementary groups: those of open(2) decide about the arrays that a request names."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from jaxfs.errors import AccessDenied
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials
from jaxfs.testing import InProcessMount
from jaxfs.testing.vfs_client import VfsClient
from tests.unmounted import ADD, ALICE, serving

TEAM = 4321
PRIVATE = "[1.0, 2.0]"


class Member:
    """A process with supplementary groups, and the mount as it uses it."""

    def __init__(self, mount: InProcessMount, groups: list[int]) -> None:
        code = (
            "import os, sys\n"
            "for line in sys.stdin: os.setgroups(eval(line)); print('done', flush=True)"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.set_groups(groups)
        rights = Credentials(ALICE, ALICE, self._process.pid)
        self.client = VfsClient(mount.vfs, mount.mount, rights)

    def set_groups(self, groups: list[int]) -> None:
        assert self._process.stdin
        assert self._process.stdout
        print(groups, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.communicate()


@pytest.fixture
def needs_setgroups() -> None:
    if os.getuid():
        pytest.skip("only root chooses groups")


@pytest.mark.usefixtures("needs_setgroups")
@pytest.mark.parametrize("change", ["ends", "leaves the group"])
async def test_the_groups_of_open_count_whatever_the_process_becomes(change: str) -> None:
    async with serving(Options(allow_other=True), add=ADD) as mount:
        await mount.client.write("arrays/team", PRIVATE, mode=0o640)
        await mount.user(0).chown("arrays/team", gid=TEAM)
        member = Member(mount, [TEAM])
        async with (
            member.client.open("programs/add/call", os.O_RDWR) as conversation,
            member.client.open("programs/add/calls/1", os.O_WRONLY | os.O_CREAT) as call,
            member.client.open("arrays/copy", os.O_WRONLY | os.O_CREAT) as array,
            member.client.open("programs/add/check", os.O_WRONLY) as check,
        ):
            member.end() if change == "ends" else member.set_groups([])
            await conversation.write(b"arrays/team [3, 4]")
            assert await conversation.read() == b"[4.0, 6.0]\n"
            await call.write(b"arrays/team [3, 4]")
            await array.write(b"arrays/team")
            await check.write(b"arrays/team [3, 4]")
        assert await mount.user(0).read("results/1.json") == b"[4.0, 6.0]\n"
        assert await mount.user(0).read("arrays/copy.json") == PRIVATE.encode() + b"\n"
        member.end()


@pytest.mark.usefixtures("needs_setgroups")
async def test_a_group_joined_after_open_gives_no_rights() -> None:
    """As where another process has got the pid, which may be in any group."""
    async with serving(Options(allow_other=True), add=ADD) as mount:
        await mount.client.write("arrays/team", PRIVATE, mode=0o640)
        await mount.user(0).chown("arrays/team", gid=TEAM)
        member = Member(mount, [])
        async with member.client.open("programs/add/call", os.O_RDWR) as conversation:
            member.set_groups([TEAM])
            await conversation.write(b"arrays/team [3, 4]")
            with pytest.raises(AccessDenied, match="may not read arrays/team"):
                await conversation.read()
        assert await member.client.ask("programs/add/call", "arrays/team [3, 4]")
        member.end()


async def test_groups_of_a_process_that_is_not_seen_from_here_do_not_count() -> None:
    assert Credentials(ALICE, ALICE, pid=0).with_groups().groups == frozenset()
    assert Credentials(ALICE, ALICE, pid=1 << 30).with_groups().groups == frozenset()


def test_groups_are_those_of_the_thread() -> None:
    ours = frozenset(os.getgroups())
    assert Credentials(ALICE, ALICE, threading.get_native_id()).with_groups().groups == ours
