"""Unix permissions under allow_other, with real users."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, children_of, front_of, mounting
from tests.e2e.programs import made

ALICE, BOB, CAROL, NOBODY = 20001, 20002, 20003, 65534
# uids, gids, effective and permitted capabilities, no_new_privs
Rights = tuple[list[str], list[str], int, int, str]
pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="other users need root")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    root = tmp_path_factory.mktemp("shared")
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with mounting(root, "allow_other,pickle=all") as mount:
        yield mount


def as_user(
    uid: int, mount: Mount, command: str, groups: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=mount.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        user=uid,
        group=uid,
        extra_groups=groups,
    )


def write_program(mount: Mount, uid: int, name: str, umask: str = "022", text: str = SAXPY) -> None:
    source = Path(mount.path.parent / "saxpy.mlir")
    source.write_text(text)
    source.chmod(0o644)
    done = as_user(uid, mount, f"umask {umask}; cp ../saxpy.mlir programs/{name}.mlir")
    assert done.returncode == 0, done.stderr


CALL = "echo '[1,1,1,1] [0,0,0,0]' > programs/{program}/calls/{id} && cat results/{id}.json"


def test_modes_decide_for_other_users(shared: Mount) -> None:
    write_program(shared, ALICE, "open")
    write_program(shared, ALICE, "closed", umask="077")
    done = as_user(BOB, shared, CALL.format(program="open", id="b1"))
    assert done.stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    done = as_user(BOB, shared, CALL.format(program="closed", id="b2"))
    assert done.returncode != 0
    assert "Permission denied" in done.stderr
    assert as_user(BOB, shared, "cat programs/closed.mlir").returncode != 0
    assert as_user(BOB, shared, "echo x > programs/open.mlir").returncode != 0
    assert as_user(BOB, shared, "rm -f programs/open.mlir").returncode != 0
    assert os.stat(shared.path / "programs/open.mlir").st_uid == ALICE


def test_umask_decides_who_reads_a_result(shared: Mount) -> None:
    write_program(shared, ALICE, "saxpy")
    as_user(BOB, shared, "umask 077; " + CALL.format(program="saxpy", id="private"))
    as_user(BOB, shared, "umask 022; " + CALL.format(program="saxpy", id="public"))
    assert as_user(ALICE, shared, "cat results/private.txt").returncode != 0
    assert as_user(ALICE, shared, "cat results/public.txt").stdout == "2.0 2.0 2.0 2.0\n"
    assert as_user(ALICE, shared, "rm -f results/public").returncode != 0
    stat = os.stat(shared.path / "results/private")
    assert (stat.st_uid, stat.st_mode & 0o777) == (BOB, 0o400)


def test_chmod_opens_and_closes_a_program(shared: Mount) -> None:
    write_program(shared, ALICE, "door")
    assert as_user(ALICE, shared, "chmod o-r programs/door.mlir").returncode == 0
    assert as_user(BOB, shared, CALL.format(program="door", id="d1")).returncode != 0
    assert as_user(ALICE, shared, "chmod o+r programs/door.mlir").returncode == 0
    assert as_user(BOB, shared, CALL.format(program="door", id="d2")).returncode == 0
    assert as_user(BOB, shared, "chmod 666 programs/door.mlir").returncode != 0


def test_error_log_shows_a_user_their_own_errors(shared: Mount) -> None:
    write_program(shared, ALICE, "errors")
    as_user(BOB, shared, "echo 1 > programs/errors/calls/bobs")
    assert "calls/bobs" in as_user(BOB, shared, "cat error_log").stdout
    assert "calls/bobs" not in as_user(ALICE, shared, "cat error_log").stdout


def test_trace_shows_a_user_their_own_calls_and_compiles(shared: Mount) -> None:
    write_program(shared, ALICE, "traced", text=f"{SAXPY}// compiled by nobody before\n")
    as_user(BOB, shared, CALL.format(program="traced", id="bobs_traced"))
    compile_of, call_of = '"name":"traced","cat":"compile"', '"call":"bobs_traced"'
    bobs, alices = (as_user(uid, shared, "cat trace").stdout for uid in (BOB, ALICE))
    everybodys = (shared.path / "trace").read_text()
    assert [compile_of in text for text in (bobs, alices, everybodys)] == [False, True, True]
    assert [call_of in text for text in (bobs, alices, everybodys)] == [True, False, True]


def test_three_users_meet_owner_group_and_other(shared: Mount) -> None:
    """Bob is in Alice's group, Carol is not."""
    write_program(shared, ALICE, "team", umask="027")
    everyone = {ALICE: (), BOB: (ALICE,), CAROL: ()}
    may = {
        uid: as_user(uid, shared, CALL.format(program="team", id=f"t{uid}"), groups).returncode == 0
        for uid, groups in everyone.items()
    }
    assert may == {ALICE: True, BOB: True, CAROL: False}
    as_user(ALICE, shared, "umask 027; " + CALL.format(program="team", id="teams"))
    for path in ("results/teams", "results/teams.0.txt", "results/teams.status"):
        readers = {
            uid: as_user(uid, shared, f"cat {path} > /dev/null", groups).returncode == 0
            for uid, groups in everyone.items()
        }
        assert readers == {ALICE: True, BOB: True, CAROL: False}, path
    for place in ("results/teams", "programs/team/calls/teams"):
        for uid in (BOB, CAROL):
            assert as_user(uid, shared, f"rm -f {place}", everyone[uid]).returncode != 0
    assert as_user(ALICE, shared, "rm results/teams").returncode == 0


TEAM = 20100
BOUND = "ln -s ../../../arrays/{array} programs/{program}/inputs/x"


def write_array(mount: Mount, uid: int, name: str, umask: str) -> None:
    done = as_user(uid, mount, f"umask {umask}; echo '[7.0, 7.0, 7.0, 7.0]' > arrays/{name}")
    assert done.returncode == 0, done.stderr


def test_owner_of_a_program_gets_no_private_array_of_a_caller(shared: Mount) -> None:
    """Alice binds an input to Bob's array; Bob calls her program, and she reads his result."""
    write_program(shared, ALICE, "trap")
    write_array(shared, BOB, "bobs", umask="077")
    assert as_user(ALICE, shared, BOUND.format(array="bobs", program="trap")).returncode == 0
    call = "echo '[0,0,0,0]' > programs/trap/calls/{0}; cat results/{0}.json"
    assert as_user(BOB, shared, call.format("trapped")).returncode != 0
    assert "user 20001, the owner of the program, may not read arrays/bobs" in (
        as_user(BOB, shared, "cat error_log").stdout
    )
    write_array(shared, ALICE, "alices", umask="022")
    rebind = "rm programs/trap/inputs/x; " + BOUND.format(array="alices", program="trap")
    assert as_user(ALICE, shared, rebind).returncode == 0
    assert as_user(BOB, shared, call.format("free")).stdout.strip() == "[14.0, 14.0, 14.0, 14.0]"


def test_groups_of_open_count_after_the_process_has_ended(shared: Mount) -> None:
    """A shell of the team opens the files and ends; its child, which goes on, writes a request."""
    write_program(shared, ALICE, "ours")
    write_array(shared, ALICE, "teams", umask="027")
    os.chown(shared.path / "arrays/teams", -1, TEAM)
    child = (
        "while kill -0 $$; do :; done; echo 'arrays/teams [0,0,0,0]' >&3; cat <&3 |"
        "cat > arrays/reply; echo 'arrays/teams [0,0,0,0]' >&4"
    )
    opener = f"exec 3<>programs/ours/call 4>programs/ours/calls/later; ({child}) >/dev/null 2>&1 &"
    assert as_user(BOB, shared, opener, groups=(TEAM,)).returncode == 0
    eventually((shared.path / "results/later").exists)
    for path in ("arrays/reply.json", "results/later.json"):
        assert (shared.path / path).read_text() == "[14.0, 14.0, 14.0, 14.0]\n"
    as_user(CAROL, shared, "echo 'arrays/teams [0,0,0,0]' > programs/ours/calls/carols")
    assert as_user(CAROL, shared, "cat results/carols").returncode != 0
    assert "may not read arrays/teams" in as_user(CAROL, shared, "cat error_log").stdout


def test_a_program_is_compiled_with_no_more_rights_than_its_writer_has(shared: Mount) -> None:
    """Its process has the writer's uid, or nobody's in root's place, and no capability."""
    sleep = made("import time\ndef f(x): time.sleep(2); raise ValueError('awake')", "(f, 1.0)")
    source = shared.path.parent / "sleep.pkl"
    source.write_bytes(sleep)
    source.chmod(0o644)
    for uid in (ALICE, CAROL, 0):
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            writing = threads.submit(as_user, uid, shared, "cp ../sleep.pkl programs/sleep.pkl")
            ours = [str(uid or NOBODY)] * 4
            confined: list[Rights] = [(ours, ours, 0, 0, "1")]
            eventually(partial(jobs_have_rights, shared, confined))
            assert writing.result().returncode != 0
        os.unlink(shared.path / "programs/sleep.pkl")


def jobs_have_rights(mount: Mount, expected: list[Rights]) -> bool:
    return rights_of_jobs(mount) == expected


def rights_of_jobs(mount: Mount) -> list[Rights]:
    """The rights of each job; not all jobs are there at the first moment."""
    found = []
    for pid in jobs_of(mount):
        with contextlib.suppress(OSError):  # it has ended
            status = status_of(pid)
            capabilities = int(status["CapEff"], 16), int(status["CapPrm"], 16)
            ids = status["Uid"].split(), status["Gid"].split()
            found.append((*ids, *capabilities, status["NoNewPrivs"]))
    return found


def jobs_of(mount: Mount) -> list[int]:
    """The throw-away processes that work now."""
    zygotes = [pid for pid, command in children_of(front_of(mount)) if "zygote" in command]
    return [pid for zygote in zygotes for pid, _ in children_of(zygote)]


def status_of(pid: int) -> dict[str, str]:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (row.partition(":") for row in rows)}
