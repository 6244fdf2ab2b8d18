"""Calls whose inputs other calls have yet to make."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxfs.testing import eventually
from tests.conftest import Mount, mounting
from tests.e2e.programs import FOREVER, SECONDS, SPIN
from tests.e2e.test_permissions import ALICE, BOB, as_user

ADD = """
func.func @main(%a: tensor<i64>, %b: tensor<i64>) -> tensor<i64> {
  %0 = stablehlo.add %a, %b : tensor<i64>
  return %0 : tensor<i64>
}
"""
BOUNDED = """
func.func @main(%n: tensor<i64>) -> tensor<1048576xi64> {
  %0 = stablehlo.broadcast_in_dim %n, dims = [] : (tensor<i64>) -> tensor<1048576xi64>
  return %0 : tensor<1048576xi64>
}
"""
LAST = """
func.func @main(%x: tensor<1048576xi64>) -> tensor<1xi64> {
  %0 = stablehlo.slice %x [1048575:1048576] : (tensor<1048576xi64>) -> tensor<1xi64>
  return %0 : tensor<1xi64>
}
"""


@pytest.fixture
def chain(mount: Mount) -> Mount:
    mount.add("spin.mlir", SPIN)
    mount.add("add.mlir", ADD)
    return mount


def ask(mount: Mount, program: str, call: str, words: str) -> None:
    (mount.path / f"programs/{program}/calls/{call}").write_text(f"{words}\n")


def state(mount: Mount, call: str) -> str:
    return mount.keyed(f"results/{call}.status")["state"]


def refused(path: Path) -> tuple[int, str]:
    """The errno of opening a result, and its error file."""
    try:
        path.read_bytes()
    except OSError as error:
        return error.errno or 0, path.with_name(f"{path.name}.error").read_text()
    return 0, ""


def test_call_takes_a_result_that_is_not_there_yet(chain: Mount) -> None:
    ask(chain, "spin", "first", f"{SECONDS // 2}")
    ask(chain, "add", "second", "results/first 1")
    ask(chain, "add", "third", "results/second results/first")
    assert state(chain, "first") == state(chain, "third") == "running"
    assert (chain.path / "results/third.json").read_text() == f"{SECONDS + 1}\n"


def test_conversation_takes_a_result_that_is_not_there_yet(chain: Mount) -> None:
    ask(chain, "spin", "first", f"{SECONDS // 2}")
    out = chain.sh("exec 3<>programs/add/call; echo 'results/first 1' >&3; cat <&3").stdout
    assert out == f"{SECONDS // 2 + 1}\n"


def test_long_chain_is_right(chain: Mount) -> None:
    ask(chain, "spin", "s", f"{SECONDS // 4}")
    os.rename(chain.path / "results/s", chain.path / "arrays/n")
    for _ in range(300):
        ask(chain, "add", "s", "arrays/n 1")
        os.rename(chain.path / "results/s", chain.path / "arrays/n")
    assert (chain.path / "arrays/n.json").read_text() == f"{SECONDS // 4 + 300}\n"
    assert os.listdir(chain.path / "results") == []


def test_more_calls_than_run_at_once_take_one_unfinished_result(chain: Mount) -> None:
    ask(chain, "spin", "first", f"{SECONDS // 2}")
    names = [f"d{number}" for number in range(150)]
    for name in names:
        ask(chain, "add", name, "results/first 1")
    found = {(chain.path / f"results/{name}.json").read_text() for name in names}
    assert found == {f"{SECONDS // 2 + 1}\n"}


def test_large_unfinished_results_are_handed_on(chain: Mount) -> None:
    chain.add("fill.mlir", BOUNDED)
    chain.add("last.mlir", LAST)
    ask(chain, "spin", "n", f"{SECONDS // 4}")
    ask(chain, "fill", "x", "results/n")
    ask(chain, "last", "y", "results/x")
    assert (chain.path / "results/y.json").read_text() == f"[{SECONDS // 4}]\n"


def test_failed_input_fails_its_dependents_and_is_named(own_mount: Mount) -> None:
    own_mount.remount("call_timeout=1")
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "first", f"{FOREVER}")
    ask(own_mount, "add", "second", "results/first 1")
    ask(own_mount, "add", "third", "results/second 1")
    assert refused(own_mount.path / "results/first")[0] == errno.ETIMEDOUT
    for name, cause in (("second", "first"), ("third", "second")):
        number, reason = refused(own_mount.path / f"results/{name}")
        assert number == errno.EIO
        assert f"its input results/{cause} failed" in reason
    ask(own_mount, "add", "after", "1 1")
    assert (own_mount.path / "results/after.json").read_text() == "2\n"


def test_call_with_an_input_that_has_failed_is_refused(own_mount: Mount) -> None:
    own_mount.remount("call_timeout=1")
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "first", f"{FOREVER}")
    assert refused(own_mount.path / "results/first")[0] == errno.ETIMEDOUT
    with pytest.raises(OSError, match="Input/output"):
        ask(own_mount, "add", "second", "results/first 1")
    with pytest.raises(OSError, match="timed out"):
        os.rename(own_mount.path / "results/first", own_mount.path / "arrays/w")


def test_long_chain_is_forgotten_with_its_last_name(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "s", f"{FOREVER}")
    os.rename(own_mount.path / "results/s", own_mount.path / "arrays/n")
    for _ in range(1200):
        ask(own_mount, "add", "s", "arrays/n 1")
        os.rename(own_mount.path / "results/s", own_mount.path / "arrays/n")
    os.unlink(own_mount.path / "arrays/n")
    eventually(lambda: own_mount.keyed("health")["result_bytes"] == "0")
    ask(own_mount, "add", "s", "1 1")
    assert (own_mount.path / "results/s.json").read_text() == "2\n"
    own_mount.assert_log_is_clean()


def test_long_chain_is_cancelled_with_its_last_result(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "c0", f"{FOREVER}")
    for number in range(1200):
        ask(own_mount, "add", f"c{number + 1}", f"results/c{number} 1")
    for number in range(1201):
        os.unlink(own_mount.path / f"results/c{number}")
    eventually(lambda: own_mount.keyed("health")["result_bytes"] == "0")
    ask(own_mount, "add", "s", "1 1")
    assert (own_mount.path / "results/s.json").read_text() == "2\n"


def test_removed_result_is_made_for_those_that_wait_for_it(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "first", f"{SECONDS // 2}")
    ask(own_mount, "add", "second", "results/first 1")
    ask(own_mount, "add", "third", "results/second 1")
    fd = os.open(own_mount.path / "programs/add/call", os.O_RDWR)
    os.write(fd, b"results/first 1\n")
    for name in ("first", "second"):
        os.unlink(own_mount.path / f"results/{name}")
    assert (own_mount.path / "results/third.json").read_text() == f"{SECONDS // 2 + 2}\n"
    assert os.read(fd, 100) == b"%d\n" % (SECONDS // 2 + 1)
    os.close(fd)


def test_cancelled_call_leaves_what_it_waits_for_alone(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "first", f"{SECONDS * 2}")  # longer than a run that is stopped may go on
    ask(own_mount, "add", "second", "results/first 1")
    ask(own_mount, "spin", "endless", f"{FOREVER}")
    ask(own_mount, "add", "third", "results/endless 1")
    os.unlink(own_mount.path / "results/second")
    os.unlink(own_mount.path / "results/third")
    assert (own_mount.path / "results/first.json").read_text() == f"{SECONDS * 2}\n"
    assert state(own_mount, "endless") == "running"
    assert own_mount.keyed("health")["engine_restarts"] == "0"


def test_replaced_array_does_not_cancel_who_waits_for_it(chain: Mount) -> None:
    ask(chain, "spin", "s", f"{SECONDS // 2}")
    os.rename(chain.path / "results/s", chain.path / "arrays/n")
    ask(chain, "add", "s", "arrays/n 1")
    (chain.path / "arrays/n").write_text("5\n")
    assert (chain.path / "results/s.json").read_text() == f"{SECONDS // 2 + 1}\n"


def test_last_name_of_an_unfinished_array_stops_its_call(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    ask(own_mount, "spin", "s", f"{FOREVER}")
    os.rename(own_mount.path / "results/s", own_mount.path / "arrays/n")
    os.unlink(own_mount.path / "arrays/n")
    ask(own_mount, "spin", "s", "7")
    assert (own_mount.path / "results/s.json").read_text() == "7\n"
    eventually(lambda: own_mount.keyed("health")["state"] == "ok")


def test_chain_survives_the_engine(own_mount: Mount) -> None:
    own_mount.add("spin.mlir", SPIN)
    own_mount.add("add.mlir", ADD)
    ask(own_mount, "spin", "n", f"{SECONDS // 2}")
    for number in range(5):
        ask(own_mount, "add", f"a{number}", f"results/{f'a{number - 1}' if number else 'n'} 1")
    os.kill(int(own_mount.keyed("health")["engine_pid"]), signal.SIGKILL)
    assert (own_mount.path / "results/a4.json").read_text() == f"{SECONDS // 2 + 5}\n"
    assert own_mount.keyed("health")["engine_restarts"] == "1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    root = tmp_path_factory.mktemp("users")
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with mounting(root, "allow_other,engine=per-user") as mount:
        mount.add("spin.mlir", SPIN)
        mount.add("add.mlir", ADD)
        yield mount


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_user_takes_what_another_lets_him_read(shared: Mount) -> None:
    started = f"echo {SECONDS // 2} > programs/spin/calls/n; mv results/n arrays/n"
    assert as_user(ALICE, shared, started).returncode == 0
    done = as_user(
        BOB, shared, "echo 'arrays/n 1' > programs/add/calls/b && cat results/b.json arrays/n.json"
    )
    assert done.stdout == f"{SECONDS // 2 + 1}\n{SECONDS // 2}\n", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_reference_to_what_one_may_not_read_is_eacces(shared: Mount) -> None:
    made = "umask 077; echo 1 2 > programs/add/calls/n; mv results/n arrays/number"
    assert as_user(ALICE, shared, made).returncode == 0
    done = as_user(BOB, shared, "echo 'arrays/number 1' | cat > programs/add/calls/c")
    assert "Permission denied" in done.stderr
    assert "may not read arrays/number" in as_user(BOB, shared, "cat results/c.error").stdout
    assert as_user(BOB, shared, "ln arrays/number arrays/mine").returncode != 0
    assert as_user(BOB, shared, "mv arrays/number arrays/mine").returncode != 0
    assert as_user(BOB, shared, "echo 4 > arrays/number").returncode != 0
    os.chown(shared.path / "arrays/number", -1, BOB + 100)
    os.chmod(shared.path / "arrays/number", 0o640)
    done = as_user(
        BOB,
        shared,
        "echo 'arrays/number 1' > programs/add/calls/d && cat results/d.json",
        groups=(BOB + 100,),
    )
    assert done.stdout == "4\n", done.stderr
