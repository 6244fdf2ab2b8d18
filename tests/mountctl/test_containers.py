"""Plain users and containers: the recipes of examples/container, with namespaces by hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jaxfs.testing import eventually
from mountctl import errors, umount
from tests.conftest import EXAMPLES, Mount, front_of, is_jaxfs

NOBODY = 65534
LIMIT_S = 120
# /dev/fuse as it is on most systems, and this Python where every user gets to it
AS_NOBODY = """
set -e
mkdir -p $W/dev $W/python
mount -t tmpfs tmpfs $W/dev
mknod -m 666 $W/dev/fuse c 10 229
mount --bind $W/dev/fuse /dev/fuse
mount --bind $BASE $W/python
setpriv --reuid 65534 --regid 65534 --clear-groups test -x $BASE/bin || {
    mount -t tmpfs -o mode=755 tmpfs /${BASE_TOP}
    mkdir -p $BASE
    mount --bind $W/python $BASE
}
exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=$W/home sh -c "$SCRIPT"
"""
may_not = os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode
needs_root = pytest.mark.skipif(bool(may_not), reason="a mount namespace needs root")
needs_bwrap = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not here")
DOCKERFILES = sorted((EXAMPLES / "container").glob("Dockerfile*"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the image holds, as its Dockerfile makes it."""
    home = tmp_path_factory.mktemp("client")
    shutil.copytree(EXAMPLES / "c", home, dirs_exist_ok=True)
    done = subprocess.run(
        ["make", "-C", str(home), "client-static"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no static C library here: {done.stderr}")
    return home / "client-static"


def contained(client: Path, mount: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """In namespaces of its own; there is nothing but the client and the mount."""
    bwrap = ["bwrap", "--unshare-all", "--ro-bind", str(client), "/client"]
    command = [*bwrap, "--bind", str(mount), "/jax", "--", "/client", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@needs_bwrap
def test_static_client_needs_nothing_but_the_mount(mount: Mount, client: Path) -> None:
    for name in ("digits_conv.mlir", "images.npy", "labels.txt"):
        assert (EXAMPLES / "digits" / name).exists()
    mount.add("saxpy.mlir", (EXAMPLES / "saxpy.mlir").read_text())
    done = contained(client, mount.path, "-n", "20", "/jax/programs/saxpy/call.raw", "32", "16")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("20 calls: p50 ")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfile_copies_what_is_there(path: Path) -> None:
    """From the build context that its own comment names."""
    text = path.read_text()
    context = EXAMPLES if "(in examples/)" in text else EXAMPLES.parent
    assert f"-f {path.relative_to(context)} ." in text
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)
    assert copied
    assert all((context / source).exists() for source in copied)


def test_client_image_is_the_static_file_alone() -> None:
    *_, last = (EXAMPLES / "container/Dockerfile").read_text().split("\nFROM ")
    kinds = [line.split()[0] for line in last.splitlines() if line]
    assert kinds == ["scratch", "COPY", "ENTRYPOINT"]
    assert "make -C /src client-static" in (EXAMPLES / "container/Dockerfile").read_text()


class PlainUser:
    """Scripts of a user who is not root; ``$M`` is mountctl, ``$HOME`` writable and empty."""

    def __init__(self, tmp_path: Path) -> None:
        self.home = tmp_path / "home"
        self.home.mkdir()
        os.chown(self.home, NOBODY, NOBODY)
        for folder in [tmp_path, *tmp_path.parents]:
            if folder.stat().st_uid == os.getuid() and len(folder.parts) > 2:
                folder.chmod(folder.stat().st_mode | 0o055)
        self._root = tmp_path

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        base = Path(sys.base_prefix)
        names = {
            "W": str(self._root),
            "BASE": str(base),
            "BASE_TOP": base.parts[1],
            "M": f"{sys.executable} -m mountctl.cli",
            "SCRIPT": f"cd; {script}",
            "PYTHONPATH": str(EXAMPLES.parent),
        }
        kept = {n: v for n, v in os.environ.items() if not n.startswith("XDG_")}
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", AS_NOBODY],
            env={**kept, **names},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def can_be_nobody(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where this Python cannot be run by a plain user."""
    user = PlainUser(tmp_path_factory.mktemp("nobody"))
    done = user.sh("id -un; test -w /dev/fuse && $M --version")
    if done.returncode:
        pytest.skip(f"there is no plain user here: {done.stderr}")
    assert done.stdout.startswith("nobody\njaxfs ")


@pytest.fixture
def user(tmp_path: Path, can_be_nobody: None) -> PlainUser:
    return PlainUser(tmp_path)


@needs_root
def test_plain_user_mounts_twice_and_unmounts(user: PlainUser) -> None:
    """The second time on a directory that the first has left without write permission."""
    done = user.sh(
        "mkdir jax; for i in 1 2; do $M mount jax && cat jax/version; findmnt -no OPTIONS jax;"
        " $M umount jax; echo umount $?; stat -c %a jax; done"
    )
    assert done.stderr == ""
    assert done.stdout.count("jaxfs 0") == 2
    assert done.stdout.count("user_id=65534") == 2
    assert done.stdout.count("umount 0\n555\n") == 2


@needs_root
def test_plain_user_unmounts_with_umount(user: PlainUser) -> None:
    done = user.sh("mkdir jax; $M mount jax; umount jax; echo umount $?; findmnt jax")
    assert done.stdout.endswith("umount 0\n"), done.stderr


@needs_root
def test_fuse_conf_decides_whether_a_plain_user_lets_others_in(user: PlainUser) -> None:
    done = user.sh("mkdir jax; $M mount -o allow_other jax")
    if Path("/etc/fuse.conf").exists():
        assert done.returncode == errors.NoFusermount.exit_code
        assert "unless user_allow_other is set in /etc/fuse.conf" in done.stderr


@needs_root
@needs_bwrap
def test_rootless_container_uses_its_users_mount(user: PlainUser, client: Path) -> None:
    shutil.copy(client, user.home.parent / "client")
    done = user.sh(
        f"mkdir jax; $M mount jax && $M add --to jax {EXAMPLES}/saxpy.mlir;"
        "bwrap --unshare-all --uid 0 --gid 0 --ro-bind ../client /client --bind jax /jax --"
        " /client -n 20 /jax/programs/saxpy/call.raw 32 16; $M umount jax"
    )
    assert "20 calls: p50 " in done.stdout, done.stderr


@needs_root
def test_rootless_container_mounts_for_itself(user: PlainUser) -> None:
    done = user.sh("mkdir jax; unshare -Urm sh -c '$M mount jax; cat jax/version; $M umount jax'")
    if "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert "\njaxfs " in done.stdout, done.stderr
    assert done.stderr == ""


COMES_BACK = """
mount --bind $W/srv $W/srv
mount --make-shared $W/srv
mkfifo $W/go $W/seen
unshare -m --propagation slave sh -c '
    echo > $W/seen
    for round in 1 2; do read line < $W/go; cat $W/srv/jax/version; echo > $W/seen; done
' &
read line < $W/seen
for round in 1 2; do
    $M mount --state-dir $W/state $W/srv/jax > $W/output && echo > $W/go && read line < $W/seen
    $M umount $W/srv/jax
done
wait
"""


@needs_root
def test_container_sees_the_mount_that_comes_back(tmp_path: Path) -> None:
    """Through a bind mount of the directory above, with rslave."""
    (tmp_path / "srv/jax").mkdir(parents=True)
    names = {"W": str(tmp_path), "M": f"{sys.executable} -m mountctl.cli"}
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", COMES_BACK],
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stdout.count("jaxfs ") == 2, done.stderr


@needs_root
def test_umount_names_the_container_that_keeps_the_mount(
    own_mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As podman's pause process does, where / is not shared between namespaces."""
    monkeypatch.setattr(umount, "END_S", 0.2)
    front = front_of(own_mount)
    keeper = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"],
        stdout=subprocess.PIPE,
    )
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline()
        with pytest.raises(errors.UnmountFailed) as failed:
            umount.umount(str(own_mount.path))
        assert f"\n  {keeper.pid} (mounted on {own_mount.path}) " in failed.value.message
        assert f"kill {front}" in failed.value.message
    finally:
        keeper.kill()
        keeper.communicate()
    eventually(lambda: not is_jaxfs(front))


@needs_root
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is not here")
def test_mount_without_the_capability_names_what_a_container_needs(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    words = [sys.executable, "-m", "mountctl.cli", "mount", str(tmp_path / "jax")]
    done = subprocess.run(
        ["setpriv", "--bounding-set", "-sys_admin", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == errors.NoFusermount.exit_code, done.stderr
    assert "--device /dev/fuse --cap-add SYS_ADMIN" in done.stderr
