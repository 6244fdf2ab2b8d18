"""Users take turns at a mount that is busy: with requests of the kernel, in the order they came."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jaxfs.testing import eventually

HERE = Path(__file__).parent
ROOT, ALICE, BOB = 0, 20001, 20002
HANGS_S = 60.0

pytestmark = [
    pytest.mark.skipif(
        not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.getuid() != 0,
        reason="needs /dev/fuse, and acts as two other users",
    ),
    pytest.mark.skipif(
        importlib.util.find_spec("jaxfs.fuse._interrupts") is None,
        reason="jaxfs.fuse._interrupts is not built (pip install -e .)",
    ),
]


class Script:
    """A script beside this file, and the lines that it prints."""

    def __init__(self, name: str, *args: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / name), *map(str, args)],
            env=os.environ | {"PYTHONPATH": str(HERE.parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def line(self) -> str:
        return self.stdout.readline().strip()

    def go(self) -> None:
        print(file=self.stdin, flush=True)

    def rest(self) -> list[str]:
        """Ends its standard input, and returns what it prints until its end."""
        return self.process.communicate(timeout=HANGS_S)[0].splitlines()


class Busy:
    """The filesystem of busy_fs.py, and the users that wait for it."""

    def __init__(self, path: Path, scripts: ExitStack) -> None:
        self.path, self._scripts = path, scripts
        self.daemon = self._script("busy_fs.py", path)
        assert self.daemon.line() == "mounted"

    def _script(self, name: str, *args: object) -> Script:
        script = Script(name, *args)
        self._scripts.callback(script.process.wait, HANGS_S)
        self._scripts.callback(script.process.kill)
        return script

    def users(self, kind: str, uid: int, *names: str) -> tuple[Script, list[int]]:
        """Starts a process for each name; returns when they can begin, with their pids."""
        client = self._script("busy_client.py", kind, uid, *(self.path / name for name in names))
        return client, [int(pid) for pid in client.line().split()]

    def block(self) -> None:
        self.users("stat", ROOT, "block")[0].go()
        assert self.daemon.line() == "blocked"

    def begin(self, client: Script, pids: list[int]) -> None:
        """Lets processes begin, and returns when each waits for its answer."""
        client.go()
        assert client.line() == "begun"
        eventually(lambda: all(map(is_asleep, pids)), message="a process does not wait")


def is_asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "SD"


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[Busy]:
    tmp_path = Path(os.path.realpath(tmp_path))
    for place in (tmp_path, *tmp_path.parents[:3]):  # others have to reach the mount
        if place.stat().st_uid == os.getuid():
            place.chmod(place.stat().st_mode | 0o011)
    path = tmp_path / "mount"
    path.mkdir()
    with ExitStack() as scripts:
        umount = ["umount", "-l", str(path)]
        scripts.callback(lambda: subprocess.run(umount, capture_output=True, check=False))
        yield Busy(path, scripts)


def test_one_request_does_not_wait_behind_many_of_another_user(busy: Busy) -> None:
    alice = busy.users("stat", ALICE, *(f"a{number}" for number in range(20)))
    bob = busy.users("stat", BOB, "b")
    busy.block()
    busy.begin(*alice)
    busy.begin(*bob)
    busy.daemon.go()
    for client, _ in (alice, bob):
        client.rest()
    found = busy.daemon.rest()
    assert len(found) == 22
    assert found[0] == f"lookup {ROOT} block"
    assert found.index(f"lookup {BOB} b") <= 2


def test_long_writes_that_wait_for_their_turn_keep_their_content(busy: Busy) -> None:
    names = [f"file{number}" for number in range(8)]
    alice = busy.users("write", ALICE, *names[:6])
    bob = busy.users("write", BOB, *names[6:])
    busy.block()
    busy.begin(*alice)
    busy.begin(*bob)
    busy.daemon.go()
    for client, _ in (alice, bob):
        client.rest()
    found = busy.daemon.rest()
    writes = [line for line in found if not line.startswith("lookup")]
    assert sorted(set(writes)) == [f"write {name}" for name in names]
