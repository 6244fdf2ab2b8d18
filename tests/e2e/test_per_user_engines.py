"""``-o engine=per-user``: each user's programs run in a process of that user."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxfs.errors import Invalid
from jaxfs.front import main
from jaxfs.options import parse
from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, children_of, mounting
from tests.e2e.programs import FOREVER, SPIN
from tests.e2e.test_permissions import ALICE, BOB, as_user

CAROL = 20003
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
CALL = "echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/{0} && cat results/{0}.json"
RIGHT = "[2.0, 2.0, 2.0, 2.0]\n"


def start(root: Path, options: str) -> Iterator[Mount]:
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with mounting(root, f"allow_other,engine=per-user,{options}") as mount:
        mount.add("saxpy.mlir", SAXPY)
        mount.add("spin.mlir", SPIN)
        yield mount


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    yield from start(tmp_path_factory.mktemp("apart"), "engine_idle=1h")


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[Mount]:
    yield from start(tmp_path, "engine_idle=1s")


def uid_of(pid: int) -> list[str]:
    return status_of(Path(f"/proc/{pid}"))["Uid"].split()


def status_of(task: Path) -> dict[str, str]:
    rows = (task / "status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (row.partition(":") for row in rows)}


def front_of(mount: Mount) -> int:
    """The daemon's pid, also while no engine runs."""
    fronts = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and _is_front(entry, mount)
    ]
    return fronts[0]


def _is_front(entry: Path, mount: Mount) -> bool:
    try:
        command = (entry / "cmdline").read_bytes()
    except OSError:
        return False
    return b"-m\0jaxfs\0" in command and f'"{mount.path}"'.encode() in command


def by_user(mount: Mount) -> dict[int, int]:
    pids = [
        pid for pid, command in children_of(front_of(mount)) if "engine.worker.user_main" in command
    ]
    return {int(uid_of(pid)[0]): pid for pid in pids}


def test_each_user_has_an_engine_under_that_user(apart: Mount) -> None:
    for uid in (ALICE, BOB, CAROL):
        assert as_user(uid, apart, CALL.format(f"each{uid}")).stdout == RIGHT
    found = by_user(apart)
    assert {ALICE, BOB, CAROL} <= set(found)
    assert apart.keyed("health")["engines"] == str(len(found))
    for uid in (ALICE, BOB, CAROL):
        for task in Path(f"/proc/{found[uid]}/task").iterdir():
            status = status_of(task)
            assert status["Uid"].split() == [str(uid)] * 4
            assert status["Gid"].split() == [str(uid)] * 4
            assert status["Groups"] == ""
            assert status["NoNewPrivs"] == "1"
            for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                assert int(status[kind], 16) == 0


def test_an_engine_sees_nothing_of_others(apart: Mount) -> None:
    for uid in (ALICE, BOB):
        assert as_user(uid, apart, CALL.format(f"sees{uid}")).stdout == RIGHT
    found = by_user(apart)
    for target in (found[BOB], front_of(apart)):
        for name in ("mem", "environ", "fd", "maps"):
            done = as_user(ALICE, apart, f"head -c1 /proc/{target}/{name} || ls /proc/{target}/fd")
            assert done.returncode != 0
    done = as_user(ALICE, apart, f"kill -9 {found[BOB]}")
    assert done.returncode != 0
    environment = Path(f"/proc/{found[BOB]}/environ").read_bytes()
    assert b"HOME=/root" not in environment


def test_an_engine_has_no_file_of_the_daemon(apart: Mount) -> None:
    """Not its log either, which could be cut short; only its own user's shared memory."""
    assert as_user(ALICE, apart, CALL.format("files")).stdout == RIGHT
    links = [os.readlink(link) for link in Path(f"/proc/{by_user(apart)[ALICE]}/fd").iterdir()]
    kinds = {link.partition(":")[0] for link in links if link != "/dev/null"}
    assert kinds <= {"pipe", "socket", "anon_inode", "/memfd"}, links


DOUBLE = """func.func public @main(%x: tensor<4096xf32>) -> tensor<4096xf32> {
  %y = stablehlo.add %x, %x : tensor<4096xf32>
  return %y : tensor<4096xf32>
}"""


@contextlib.contextmanager
def open_as_alice(mount: Mount, name: str) -> Iterator[None]:
    """A file of hers that everybody may write, made and held open without writing."""
    alice = subprocess.Popen(
        ["bash", "-c", f"umask 0; exec 3> {name}; echo; read"],
        cwd=mount.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        user=ALICE,
        group=ALICE,
        extra_groups=[],
    )
    try:
        assert alice.stdout is not None
        alice.stdout.readline()
        yield
    finally:
        alice.communicate(b"\n", timeout=60)


def test_what_another_user_writes_into_a_call_reaches_the_callers_engine(apart: Mount) -> None:
    """It stands in the writer's memory, which the caller's engine is never sent: there, a segment
    of the same number is another one."""
    apart.add("double.mlir", DOUBLE)
    for uid, value in ((ALICE, 5), (BOB, 7)):
        data = apart.path.parent / f"{uid}.npy"
        np.save(data, np.full(4096, value, "f4"))
        data.chmod(0o644)
    for i in range(4):
        own = f"cat ../{ALICE}.npy > programs/double/calls/own{i}; cat results/own{i}.npy | wc -c"
        assert as_user(ALICE, apart, own).stdout == "16512\n"
    with open_as_alice(apart, "programs/double/calls/given"):
        done = as_user(BOB, apart, f"cat ../{BOB}.npy > programs/double/calls/given")
    assert done.returncode == 0, done.stderr
    assert set(np.load(apart.path / "results/given.npy").tolist()) == {14.0}
    assert os.stat(apart.path / "results/given").st_uid == ALICE


def test_a_corrupted_engine_harms_its_user_only(apart: Mount) -> None:
    """Alice's engine gets garbage for memory wherever it can be written, shared segments too."""
    for uid in (ALICE, BOB):
        assert as_user(uid, apart, CALL.format(f"before{uid}")).stdout == RIGHT
    found = by_user(apart)
    large = "head -c 16000000 /dev/zero > programs/.stage; rm programs/.stage"
    assert as_user(BOB, apart, large).returncode == 0
    as_user(ALICE, apart, f"echo {FOREVER} > programs/spin/calls/endless")
    corrupt(found[ALICE])
    assert as_user(BOB, apart, CALL.format("after")).stdout == RIGHT
    assert by_user(apart)[BOB] == found[BOB]
    assert as_user(BOB, apart, f"cat results/before{BOB}.json").stdout == RIGHT
    as_user(ALICE, apart, "rm results/endless")
    eventually(lambda: by_user(apart).get(ALICE) != found[ALICE])
    assert as_user(ALICE, apart, CALL.format("again")).stdout == RIGHT


def corrupt(pid: int) -> None:
    """Overwrite what a process can write: its heap and every segment it has mapped."""
    os.kill(pid, signal.SIGSTOP)
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            span, modes, *_ = line.split()
            if not modes.startswith("rw") or "[stack]" in line:
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            try:
                memory.seek(start)
                memory.write(b"\xa5" * min(end - start, 1 << 20))
            except OSError:
                continue
    os.kill(pid, signal.SIGCONT)


def test_idle_engines_end_and_come_back_by_themselves(brief: Mount) -> None:
    assert as_user(ALICE, brief, CALL.format("first")).stdout == RIGHT
    pid = by_user(brief)[ALICE]
    eventually(lambda: ALICE not in by_user(brief))
    assert as_user(ALICE, brief, "cat results/first.json").stdout == RIGHT
    assert as_user(ALICE, brief, CALL.format("second")).stdout == RIGHT
    assert by_user(brief)[ALICE] != pid
    health = brief.keyed("health")
    assert health["state"] == "ok"
    assert health["engine_restarts"] == "0"


def test_plain_users_cannot_have_engines_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: ALICE)
    with pytest.raises(Invalid, match="root"):
        main.open_engines(parse(["engine=per-user"]), Path())
