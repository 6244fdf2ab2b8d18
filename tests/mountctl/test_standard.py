"""The options of mount(8) and fstab(5) beside jaxfs's own: each is ignored or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from jaxfs import options
from jaxfs.fuse import session
from jaxfs.options import Options
from mountctl import arguments, mount8_options
from mountctl.cli import main
from mountctl.errors import BadOption

IGNORED = (
    "defaults rw auto noauto nofail _netdev x-systemd.automount X-mount.mkdir user users nouser"
    " user=alice owner noowner group nogroup helper=x uhelper=x comment=hello dev nodev suid nosuid"
    " nosymfollow exec atime noatime relatime norelatime strictatime nostrictatime diratime"
    " nodiratime lazytime nolazytime sync async dirsync mand nomand iversion noiversion silent loud"
    " setuid=alice"
)
REFUSED = "ro uid=1 gid=1 umask=077 fmask=0 dmask=0 remount fscontext=a defcontext=a rootcontext=a"


@pytest.mark.parametrize("word", IGNORED.split())
def test_words_of_mount_that_change_nothing_are_ignored(word: str) -> None:
    assert arguments.parse([word]).options == Options()


def test_every_ignored_row_has_a_word_above() -> None:
    patterns = [p for row in mount8_options.TABLE if not row.refused for p in row.patterns.split()]
    covered = [
        p
        for p in patterns
        if any(mount8_options.MountOption(p, "").match(word) for word in IGNORED.split())
    ]
    assert covered == patterns


@pytest.mark.parametrize("word", REFUSED.split())
def test_words_that_cannot_be_honoured_are_refused_in_words(word: str) -> None:
    with pytest.raises(BadOption) as caught:
        arguments.parse([word])
    assert f"option {word} is not possible with jaxfs: " in caught.value.message


def test_noexec_reaches_the_kernel_and_exec_takes_it_back() -> None:
    assert "noexec" in session.mount_options(arguments.parse(["noexec"]).options)
    assert not arguments.parse(["noexec", "exec"]).options.noexec


def test_label_reaches_the_kernel_where_there_is_selinux(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (part,) = options.split(['context="system_u:object_r:tmp_t:s0:c1,c2"'])
    parsed = arguments.parse([part]).options
    assert not any(w.startswith("context") for w in session.mount_options(parsed))
    monkeypatch.setattr(session, "SELINUX", tmp_path)
    assert 'context="system_u:object_r:tmp_t:s0:c1\\,c2"' in session.mount_options(parsed)


def test_unknown_word_is_dropped_only_where_that_is_asked() -> None:
    assert arguments.parse(["nonsense=1", "devices=2"], sloppy=True).options.devices == 2
    with pytest.raises(BadOption):
        arguments.parse(["nonsense=1"])


@pytest.mark.parametrize("name", arguments.TABLE)
def test_every_option_is_a_flag_too(name: str) -> None:
    output = CliRunner().invoke(main, ["mount", "--help"]).output
    assert f"--{name.replace('_', '-')}" in output


def test_flags_and_words_are_read_by_one_parser() -> None:
    done = CliRunner().invoke(main, ["mount", "--devices", "0", "/nowhere"])
    assert (done.exit_code, done.output) == (
        BadOption.exit_code,
        "mountctl: option devices takes a number from 1 to 9999, and was given '0'\n",
    )


def test_path_in_a_word_may_hold_a_comma() -> None:
    parts = options.split(['state_dir="/a,b",devices=2'])
    parsed = arguments.parse(parts)
    assert (parsed.launch.state_dir, parsed.options.devices) == ("/a,b", 2)


def test_help_shows_both_tables() -> None:
    output = CliRunner().invoke(main, ["help", "options"]).output
    assert all(f"\n{name}" in f"\n{output}" for name in arguments.TABLE)
    assert all(row.why in output for row in mount8_options.TABLE)
