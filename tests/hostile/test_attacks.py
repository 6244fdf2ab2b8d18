"""Attacks from pickled functions: none gets what it wants, each ends in time, the mount goes on."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import jaxfs
from jaxfs.testing import eventually
from tests.conftest import Mount, children_of, front_of, mounting
from tests.e2e.test_permissions import ALICE, as_user
from tests.hostile.attacks import ATTACKS, Attack
from tests.hostile.test_mount import assert_works

DEADLINE_S = 4
DOCUMENT = Path(__file__).parents[2] / "docs/reports/attacks.md"
pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="other users need root"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are told by number"),
]


@attrs.frozen
class Target:
    """What attacks are let loose on."""

    mount: Mount
    places: dict[str, object]
    secret: Path
    listener: socket.socket
    told: dict[tuple[str, str], tuple[str, float]] = attrs.field(factory=dict)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root = tmp_path_factory.mktemp("attacks")
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    secret = root / "secret"
    secret.write_text("not yours")
    secret.chmod(0o666)  # only a sandbox keeps anybody from it
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(root / "socket"))
    unix.listen()
    tcp = socket.create_server(("127.0.0.1", 0))
    options = f"allow_other,pickle=all,compile_timeout={DEADLINE_S}s"
    with mounting(root, options) as mount:
        assert_works(mount)
        mount.empty()
        places = {
            "secret": secret,
            "checkout": Path(jaxfs.__file__).parents[1],
            "mount": mount.path,
            "front": front_of(mount),
            "port": tcp.getsockname()[1],
            "socket": root / "socket",
        }
        found = Target(mount, places, secret, tcp)
        yield found
        mount.assert_log_is_clean(but="was not compiled: ETIMEDOUT")
    unix.close()
    tcp.close()
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document(found))


def pickled(attack: Attack, target: Target) -> bytes:
    source = attack.source(**target.places)
    return subprocess.check_output([sys.executable, "-c", source], timeout=60)


@pytest.mark.parametrize("author", ["root", "a plain user"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_attack_gets_nothing_and_the_mount_goes_on(
    target: Target, attack: Attack, author: str
) -> None:
    mount = target.mount
    source = mount.path.parent / "attack.pkl"
    source.write_bytes(pickled(attack, target))
    source.chmod(0o644)
    uid = 0 if author == "root" else ALICE
    began = time.monotonic()
    done = as_user(uid, mount, "cp ../attack.pkl programs/attack.pkl")
    seconds = time.monotonic() - began
    told = (mount.path / "programs/attack/error").read_text()
    target.told[attack.name, author] = (told.splitlines()[0], seconds)
    assert done.returncode != 0, "the attack was taken for a program"
    assert "Succeeded" not in told
    assert attack.waits is None or told.startswith("ETIMEDOUT") == attack.waits
    assert rss_bytes(front_of(mount)) < 200 << 20
    os.unlink(mount.path / "programs/attack.pkl")
    assert target.secret.read_text() == "not yours"
    assert oct(target.secret.stat().st_mode & 0o777) == "0o666"
    assert not Path(f"{target.secret}.new").exists()
    eventually(lambda: not jobs(mount))
    assert_works(mount)
    mount.empty()
    assert mount.keyed("health")["tracer_restarts"] == "0"
    assert mount.keyed("health")["engine_restarts"] == "0"


def rss_bytes(pid: int) -> int:
    """The memory a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def jobs(mount: Mount) -> list[int]:
    """Processes below the tracer: soon after a write has been answered there is none."""
    zygotes = [pid for pid, command in children_of(front_of(mount)) if "zygote" in command]
    return [pid for zygote in zygotes for pid, _ in children_of(zygote)]


def document(target: Target) -> str:
    """The table: attack, who tried it, what stopped it, how long that took."""
    rows = [
        f"| {attack.name} | {attack.what} | {who} | {_shown(*target.told[attack.name, who])} |"
        for attack in ATTACKS
        for who in ("root", "a plain user")
        if (attack.name, who) in target.told
    ]
    return "\n".join(
        [
            "# Attacks",
            "",
            "What pickled functions try in `tests/hostile/attacks.py`, and what stopped them, as",
            "the program's `error` file tells it. Each was written to a mount twice, by root and",
            f"by a plain user, with a deadline of {DEADLINE_S} s; made by",
            "`JAXFS_UPDATE_DOCS=1 python -m pytest tests/hostile/test_attacks.py`.",
            "",
            "| attack | what it does | who | what stopped it | seconds |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _shown(line: str, seconds: float) -> str:
    words = re.sub(r"/\S+|\d{4,}", "...", line).replace("|", "\\|")
    return f"{words[:160]} | {seconds:.2f}"
