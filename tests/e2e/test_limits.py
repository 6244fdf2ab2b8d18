"""How long, how many and how much: limits of calls and compiles, and shares of users."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, mounting
from tests.e2e.programs import FOREVER, SECONDS, SPIN, sines
from tests.e2e.test_permissions import ALICE, BOB, as_user

CAROL = 20003
BIG = """
func.func public @main(%x: tensor<f32>) -> tensor<{n}xf32> {{
  %y = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<{n}xf32>
  return %y : tensor<{n}xf32>
}}
"""
HUGE_INSIDE = """
func.func public @main(%x: tensor<f32>) -> tensor<{n}xf32> {{
  %i = stablehlo.iota dim = 0 : tensor<{n}xf32>
  %y = stablehlo.broadcast_in_dim %x, dims = [] : (tensor<f32>) -> tensor<{n}xf32>
  %z = stablehlo.add %i, %y : tensor<{n}xf32>
  %s = "stablehlo.sort"(%z) ({{
    ^bb0(%a: tensor<f32>, %b: tensor<f32>):
      %c = stablehlo.compare LT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>
      stablehlo.return %c : tensor<i1>
  }}) {{dimension = 0 : i64}} : (tensor<{n}xf32>) -> tensor<{n}xf32>
  return %s : tensor<{n}xf32>
}}
"""
root_only = pytest.mark.skipif(os.getuid() != 0, reason="other users need root")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[[str], Mount]]:
    """Makes one mount with options, open to the users of these tests."""
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with_mount = []

    def start(options: str) -> Mount:
        context = mounting(tmp_path, options)
        with_mount.append(context)
        return context.__enter__()

    yield start
    for context in with_mount:
        context.__exit__(None, None, None)


def errno_of(do: Callable[[], object]) -> int:
    with pytest.raises(OSError) as caught:
        do()
    return caught.value.errno or 0


def submit(mount: Mount, program: str, call: str, text: str) -> None:
    (mount.path / f"programs/{program}/calls/{call}").write_text(text)


def test_a_call_past_its_limit_is_etimedout_and_others_are_not(
    limited: Callable[[str], Mount],
) -> None:
    mount = limited("call_timeout=2s")
    mount.add("spin.mlir", SPIN)
    submit(mount, "spin", "endless", str(FOREVER))
    submit(mount, "spin", "short", str(SECONDS // 10))
    assert errno_of((mount.path / "results/endless").read_bytes) == errno.ETIMEDOUT
    assert "call_timeout" in (mount.path / "results/endless.error").read_text()
    assert mount.keyed("results/endless.status")["errno"] == "ETIMEDOUT"
    assert (mount.path / "results/short.json").read_text() == f"{SECONDS // 10}\n"
    submit(mount, "spin", "later", "5")
    assert (mount.path / "results/later.json").read_text() == "5\n"


def test_a_reply_past_its_limit_is_etimedout(limited: Callable[[str], Mount]) -> None:
    mount = limited("call_timeout=1s")
    mount.add("spin.mlir", SPIN)
    fd = os.open(mount.path / "programs/spin/call", os.O_RDWR)
    os.write(fd, f"{FOREVER}\n".encode())
    assert errno_of(lambda: os.read(fd, 100)) == errno.ETIMEDOUT
    os.write(fd, b"7\n")
    assert os.read(fd, 100) == b"7\n"
    os.close(fd)


def test_a_compile_past_its_limit_is_etimedout(limited: Callable[[str], Mount]) -> None:
    mount = limited("compile_timeout=0.001s")
    assert errno_of(lambda: mount.add("saxpy.mlir", SAXPY)) == errno.ETIMEDOUT
    assert "compile_timeout" in (mount.path / "programs/saxpy/error").read_text()


def test_removing_the_result_ends_a_running_call(limited: Callable[[str], Mount]) -> None:
    mount = limited("")
    mount.add("spin.mlir", SPIN)
    submit(mount, "spin", "endless", str(FOREVER))
    submit(mount, "spin", "other", str(SECONDS // 2))
    waiter = subprocess.Popen(["cat", "results/endless"], cwd=mount.path, stderr=subprocess.PIPE)
    eventually(lambda: int(mount.keyed("metrics")["jaxfs_waiters"]) == 2)  # reading this is one
    os.unlink(mount.path / "results/endless")
    assert b"Operation canceled" in waiter.communicate()[1]
    assert (mount.path / "results/other.json").read_text() == f"{SECONDS // 2}\n"
    eventually(lambda: mount.keyed("health")["engine_restarts"] == "1")


def test_an_endless_first_call_does_not_stop_others_of_its_program(
    limited: Callable[[str], Mount],
) -> None:
    """JAX's fast path makes every caller of a program wait for the end of its first call."""
    mount = limited("")
    mount.add("spin.mlir", SPIN)
    submit(mount, "spin", "endless", str(FOREVER))
    submit(mount, "spin", "short", "5")
    assert (mount.path / "results/short.json").read_text() == "5\n"
    assert mount.keyed("results/endless.status")["state"] == "running"
    os.unlink(mount.path / "results/endless")


@root_only
def test_a_user_has_a_share_of_unfinished_calls(limited: Callable[[str], Mount]) -> None:
    mount = limited("allow_other,max_calls_per_user=3")
    mount.add("spin.mlir", SPIN)
    for number in range(3):
        done = as_user(ALICE, mount, f"echo {FOREVER} > programs/spin/calls/a{number}")
        assert done.returncode == 0
    done = as_user(ALICE, mount, f"/bin/echo {FOREVER} > programs/spin/calls/a3")
    done = as_user(ALICE, mount, "/bin/cat programs/spin/calls/a3 results/a3.error")
    assert "EDQUOT" in done.stdout
    assert "max_calls_per_user" in done.stdout
    done = as_user(BOB, mount, "echo 3 > programs/spin/calls/b && cat results/b.json")
    assert done.stdout == "3\n"
    as_user(ALICE, mount, "rm results/a0; echo 4 > programs/spin/calls/a3")
    assert as_user(ALICE, mount, "cat results/a3.json").stdout == "4\n"


@root_only
def test_a_user_has_a_share_of_memory(limited: Callable[[str], Mount]) -> None:
    mount = limited("allow_other,max_bytes_per_user=10M")
    mount.add("big.mlir", BIG.format(n=1 << 20))
    make = "echo 1 > programs/big/calls/{0} && cat results/{0} | wc -c"
    assert as_user(ALICE, mount, make.format("a1")).returncode == 0
    assert as_user(ALICE, mount, make.format("a2")).returncode == 0
    as_user(ALICE, mount, make.format("a3"))
    told = as_user(ALICE, mount, "cat results/a3.error").stdout
    assert told.startswith("EDQUOT")
    assert "max_bytes_per_user" in told
    assert as_user(BOB, mount, make.format("b1")).returncode == 0
    done = as_user(ALICE, mount, "head -c 20M /dev/zero > programs/.staged")
    assert "Disk quota exceeded" in done.stderr
    as_user(ALICE, mount, "rm results/a1")
    assert as_user(ALICE, mount, make.format("a3")).returncode == 0


@root_only
def test_users_take_turns(limited: Callable[[str], Mount]) -> None:
    """Bob's one call and Carol's are answered while most of Alice's hundreds still wait."""
    mount = limited("allow_other")
    mount.add("spin.mlir", SPIN)
    flood = f"for n in $(seq 400); do echo {SECONDS // 20} > programs/spin/calls/a$n; done"
    assert as_user(ALICE, mount, flood).returncode == 0
    for uid in (BOB, CAROL):
        done = as_user(uid, mount, f"echo 9 > programs/spin/calls/u{uid}; cat results/u{uid}.json")
        assert done.stdout == "9\n"
    states = as_user(ALICE, mount, "grep -h ^state results/*.status 2>&1; cat results/a400.status")
    assert "state running" in states.stdout
    assert int(mount.keyed("health")["queued_calls"]) > 50


def test_a_run_that_cannot_fit_is_enospc_at_submission(limited: Callable[[str], Mount]) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    mount = limited(f"max_result_bytes={2 * machine}")
    mount.add("huge.mlir", HUGE_INSIDE.format(n=machine // 6))
    assert errno_of(lambda: submit(mount, "huge", "c", "1")) == errno.ENOSPC
    told = (mount.path / "results/c.error").read_text()
    assert "bytes of memory" in told
    assert "the machine has available" in told
    assert mount.keyed("health")["engine_restarts"] == "0"
    fd = os.open(mount.path / "programs/huge/call", os.O_RDWR)
    assert errno_of(lambda: os.write(fd, b"1\n")) == errno.ENOSPC
    os.close(fd)


def test_a_program_that_kills_the_engine_is_quarantined_with_the_reason(
    limited: Callable[[str], Mount],
) -> None:
    mount = limited("")
    mount.add("spin.mlir", SPIN)
    submit(mount, "spin", "c", str(FOREVER))
    for deaths in range(1, 3):
        eventually(lambda: mount.keyed("health")["engine"] == "ready")
        eventually(lambda: mount.keyed("results/c.status")["state"] == "running")
        pid = int(mount.keyed("health")["engine_pid"])
        eventually(partial(_has_computed, pid, since=_ticks(pid)))
        os.kill(pid, signal.SIGSEGV)
        eventually(partial(_has_restarted, mount, deaths))
    assert errno_of((mount.path / "results/c").read_bytes) == errno.EIO
    assert "quarantined" in (mount.path / "programs/spin/error").read_text()
    assert mount.keyed("programs/spin/status")["state"] == "quarantined"
    mount.add("saxpy.mlir", SAXPY)
    submit(mount, "saxpy", "fine", "[1,1,1,1] [0,0,0,0]")
    assert (mount.path / "results/fine.json").read_text() == "[2.0, 2.0, 2.0, 2.0]\n"


def _has_restarted(mount: Mount, times: int) -> bool:
    return mount.keyed("health")["engine_restarts"] == str(times)


def _has_computed(pid: int, since: int) -> bool:
    """Whether a process has computed for a while: more than it takes to begin a run."""
    return _ticks(pid) - since > 20


def _ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def test_result_limit_is_enospc_until_results_are_removed(tmp_path: Path) -> None:
    with mounting(tmp_path, "max_result_bytes=40,max_bytes_per_user=4K") as mount:
        mount.add("saxpy.mlir", SAXPY)
        for name in ("a", "b"):
            (mount.path / f"programs/saxpy/calls/{name}").write_text("[1,1,1,1] [0,0,0,0]\n")
            assert (mount.path / f"results/{name}").read_bytes()
        with pytest.raises(OSError) as caught:
            (mount.path / "programs/saxpy/calls/c").write_text("[1,1,1,1] [0,0,0,0]\n")
        assert caught.value.errno == errno.ENOSPC
        os.unlink(mount.path / "results/a")
        (mount.path / "programs/saxpy/calls/c").write_text("[1,1,1,1] [0,0,0,0]\n")
        assert mount.sh("cat results/c.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


@root_only
def test_compiles_of_one_user_delay_no_tiny_one_of_another(limited: Callable[[str], Mount]) -> None:
    mount = limited("allow_other")
    (mount.path.parent / "slow.mlir").write_text(sines(20_000))
    for number in range(4):
        make = f"(cat ../slow.mlir; echo '// {number}') > programs/.s{number}"
        done = as_user(ALICE, mount, f"{make} && mv programs/.s{number} programs/s{number}.mlir")
        assert done.returncode == 0
    (mount.path.parent / "tiny.mlir").write_text(SAXPY)
    done = as_user(BOB, mount, "cat ../tiny.mlir > programs/b.mlir && cat programs/b/status")
    assert "state ready" in done.stdout
    states = as_user(ALICE, mount, "grep -h ^state programs/s*/status").stdout.split()
    assert states.count("compiling") >= 2
    assert as_user(ALICE, mount, "rm programs/s*.mlir").returncode == 0
    eventually(lambda: mount.keyed("metrics")["jaxfs_running_jobs"] == "0")
