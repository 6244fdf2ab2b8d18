"""Three users on one mount with one engine: nobody stops anybody, whatever is run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount, mounting
from tests.e2e.programs import FOREVER, SECONDS, SPIN
from tests.e2e.test_permissions import ALICE, BOB, CAROL, as_user

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
QUICK = "echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/{0} && cat results/{0}.json"
ENDLESS_36 = f"for i in $(seq 36); do echo {FOREVER} > programs/spin/calls/e$i; done"
KILL_LOOP = f"""
while true; do
  echo {FOREVER} > programs/spin/calls/victim && sleep 0.2 && rm results/victim
done
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    root = tmp_path_factory.mktemp("shared")
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with mounting(root, "allow_other") as mount:
        mount.add("saxpy.mlir", SAXPY)
        mount.add("spin.mlir", SPIN)
        yield mount


def quick(mount: Mount, uid: int, call: str) -> None:
    assert as_user(uid, mount, QUICK.format(call)).stdout == "[2.0, 2.0, 2.0, 2.0]\n"


def test_endless_calls_of_one_user_stop_no_call_of_another(shared: Mount) -> None:
    assert as_user(ALICE, shared, ENDLESS_36).returncode == 0
    for number in range(5):
        quick(shared, BOB, f"quick{number}")
    turns = f"echo {SECONDS // 100} > programs/spin/calls/turns && cat results/turns.json"
    assert as_user(BOB, shared, turns).stdout == f"{SECONDS // 100}\n"
    assert as_user(ALICE, shared, "rm results/e*").returncode == 0


def test_ending_calls_again_and_again_ends_no_call_of_another(shared: Mount) -> None:
    turns = 3 * SECONDS
    assert as_user(BOB, shared, f"echo {turns} > programs/spin/calls/long").returncode == 0
    loop = subprocess.Popen(["bash", "-c", KILL_LOOP], cwd=shared.path, user=CAROL, group=CAROL)
    try:
        eventually(lambda: shared.keyed("health")["separated_users"] != "0")
        quick(shared, BOB, "beside")
        assert as_user(BOB, shared, "cat results/long.json").stdout == f"{turns}\n"
    finally:
        loop.kill()
        loop.wait()
        as_user(CAROL, shared, "rm -f results/victim")
