"""mount(8), umount(8), mount.fuse3 and fstab with the files of ``mountctl install``.

Each script runs in a mount namespace of its own, where /sbin has the helpers laid over it: the
machine's own /sbin is not touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mountctl import errors, helper
from mountctl.install import install
from tests.conftest import mountctl

LIMIT_S = 120
OVERLAY = """
for dir in /usr/sbin /usr/local/sbin; do
    mount -t overlay overlay -o lowerdir=$ROOT$dir:$dir $dir || exit 99
done
"""
may_not = os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode
pytestmark = pytest.mark.skipif(bool(may_not), reason="a mount namespace needs root")


class Place:
    """A mount point and the scripts that mount on it."""

    def __init__(self, tmp_path: Path) -> None:
        self.root, self.path = tmp_path / "root", tmp_path / "jax"
        self.state_dir = tmp_path / "state"
        self.path.mkdir()
        install(self.root, "/usr/local")
        (self.root / "usr/sbin").symlink_to("../sbin")

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        """``$D`` is the mount point, ``$S`` the option with the state directory."""
        names = {"D": self.path, "S": f"state_dir={self.state_dir}", "ROOT": self.root}
        done = subprocess.run(
            ["unshare", "-m", "bash", "-c", f"{OVERLAY}{script}"],
            env={**os.environ, **{name: str(value) for name, value in names.items()}},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode == 99:
            pytest.skip(f"no overlay here: {done.stderr}")
        return done


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path)


def test_mount_t_jaxfs_and_plain_umount(place: Place) -> None:
    done = place.sh(
        "mount -v -t jaxfs gpu0 $D -o devices=2,$S,noatime,_netdev,x-systemd.automount || exit 1;"
        "ls $D/devices; findmnt -no SOURCE,FSTYPE $D; umount $D; echo umount $?; ls $D"
    )
    assert "cpu:1, ready in " in done.stdout
    assert done.stdout.endswith("cpu:0\ncpu:1\ngpu0   fuse.jaxfs\numount 0\n")
    assert (done.returncode, done.stderr) == (0, "")


def test_mount_t_fuse_jaxfs_right_after_umount(place: Place) -> None:
    """umount(8) returns before the daemon has ended, and the next mount waits for that."""
    one = "mount -t fuse.jaxfs none $D -o $S && cat $D/version && umount $D"
    done = place.sh(f"{one} && {one}")
    assert (done.stdout.count("jaxfs "), done.stderr) == (2, "")


@pytest.mark.skipif(not shutil.which("mount.fuse3"), reason="mount.fuse3 is not here")
@pytest.mark.parametrize("words", ["", ",drop_privileges"])
def test_mount_fuse_with_jaxfs_in_the_source(place: Place, words: str) -> None:
    """With drop_privileges mount.fuse3 mounts itself, and hands over /dev/fd/N."""
    done = place.sh(f"mount -t fuse jaxfs#gpu0 $D -o $S{words} && cat $D/version; umount $D")
    if "no mounted FUSE session whose place this kernel shows" in done.stderr:
        pytest.skip("Linux 6.16 shows where a session is mounted")
    assert (done.stdout[:6], done.stderr) == ("jaxfs ", "")


def test_fstab_line_passes_findmnt_and_mounts_once(place: Place) -> None:
    fstab = place.root / "fstab"
    fstab.write_text(
        f"none {place.path} jaxfs state_dir={place.state_dir},nofail,_netdev,user,comment=x,"
        "x-systemd.device-timeout=5 0 0\n"
    )
    done = place.sh(
        f"findmnt --verify --tab-file {fstab} || exit 1; mount -a -T {fstab}; echo mount $?;"
        f"mount -a -T {fstab}; echo again $?; findmnt -no OPTIONS $D; umount $D; findmnt $D"
    )
    assert "0 parse errors, 0 errors" in done.stderr
    assert "mount 0\nagain 0\n" in done.stdout
    assert "noexec" in done.stdout  # which "user" implies
    assert done.stdout.count("user_id=0") == 1


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("mount -t jaxfs none $D -o $S,nonsense", 1, "there is no option 'nonsense'"),
        ("mount -t jaxfs none $D -o $S,ro", 1, "option ro is not possible"),
        ("mount -t jaxfs none $D/nowhere -o $S", 32, "nowhere"),
        ("mount -t jaxfs none $D -o state_dir=/proc/x", 2, "state directory /proc/x"),
        ("mount -t jaxfs none $D -o $S,platform=abacus", 1, "abacus"),
        ("umount.fuse.jaxfs $D", 32, "no jaxfs is mounted"),
        ("mount.jaxfs", 1, "Missing argument"),
        ("mount.jaxfs a b c", 1, "one source and one directory"),
    ],
)
def test_exit_codes_are_those_of_mount(place: Place, command: str, code: int, reason: str) -> None:
    done = place.sh(command)
    assert done.returncode == code, done.stderr
    assert reason in done.stderr


def test_source_may_be_a_path_as_fstab_makes_of_a_word_that_is_one(place: Place) -> None:
    assert place.sh("cd /; mount -t jaxfs etc $D -o $S && umount $D").returncode == 0


def test_sloppy_mount_ignores_what_it_does_not_know(place: Place) -> None:
    assert place.sh("mount -s -t jaxfs none $D -o $S,nonsense && umount $D").returncode == 0


def test_fake_mount_only_checks(place: Place) -> None:
    assert place.sh("mount.jaxfs none $D -f -o $S && ! findmnt $D").returncode == 0
    assert place.sh("mount.jaxfs none $D -f -o $S,nonsense").returncode == 1
    assert not place.state_dir.exists()


def test_helper_enters_a_namespace(place: Place) -> None:
    done = place.sh(
        "unshare -m sleep 60 & sleep 0.2; mount.jaxfs none $D -N $! -o $S || exit 1;"
        "findmnt $D && exit 1; umount.fuse.jaxfs $D -N $! && kill $!"
    )
    assert done.returncode == 0, done.stderr


def test_busy_umount_names_the_process(place: Place) -> None:
    done = place.sh(
        "mount -t jaxfs none $D -o $S; exec 3< $D/version; umount.fuse.jaxfs $D; code=$?;"
        "exec 3<&-; umount.fuse.jaxfs $D && exit $code"
    )
    assert done.returncode == errors.Busy.mount8_code
    assert f"(fd 3 {place.path}/version)" in done.stderr


def test_every_error_has_a_code_of_mount() -> None:
    known = {1, 2, 4, 8, 32}
    assert {kind.mount8_code for kind in errors.MountctlError.__subclasses__()} <= known
    assert {helper.INCORRECT, helper.INTERRUPTED} <= known


def test_session_without_modes_for_all_is_refused(place: Place) -> None:
    done = place.sh("mount -t fuse jaxfs#x $D -o $S,drop_privileges,allow_other")
    if "Linux 6.16 does" in done.stderr or not shutil.which("mount.fuse3"):
        pytest.skip("no such session here")
    assert "any user could do anything" in done.stderr


def test_descriptor_that_is_no_session_is_refused(place: Place) -> None:
    done = subprocess.run(
        [*mountctl("mount"), "/dev/fd/0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == errors.NoMountPoint.exit_code
    assert b"/dev/fd/0 is no mounted FUSE session" in done.stderr
