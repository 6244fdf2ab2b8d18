"""``mountctl install``: the files that let the system's own tools mount jaxfs.

``FILES`` is the table.  Every file has ``MARK`` in it, so that ``install`` and ``uninstall`` leave
files of another origin alone.  With ``--root`` files go below another root, as packages are built.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import click
from click.shell_completion import get_completion_class

from mountctl.errors import NotInstalled

MARK = "made by mountctl install; mountctl uninstall removes it"
PREFIX = "/usr/local"
SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)


@attrs.frozen
class InstalledFile:
    """A row of the table.

    Attributes:
        path: Below the prefix; absolute if programs look in one place only.
        text: Makes the content.
        help: What the file is for, in the manual.
        mode: Permission bits.
    """

    path: str
    text: Callable[[], str]
    help: str
    mode: int = 0o644


def _python(*arguments: str) -> str:
    return shlex.join([sys.executable, "-P", *arguments])


def _helper(which: str) -> Callable[[], str]:
    return lambda: f'#!/bin/sh\n# {MARK}\nexec {_python("-m", "mountctl.helper", which)} "$@"\n'


def _unit() -> str:
    """A template unit: jaxfs@mnt-jax.service serves /mnt/jax (systemd-escape -p)."""
    mountctl = _python("-m", "mountctl.cli")
    return f"""\
# {MARK}
[Unit]
Description=jaxfs on %f
After=local-fs.target

[Service]
Type=notify
NotifyAccess=all
Environment=JAXFS_OPTIONS=
EnvironmentFile=-/etc/jaxfs/%i.conf
ExecStart={mountctl} mount --foreground -o log_format=journal,timeout=5m -o ${{JAXFS_OPTIONS}} %f
ExecReload={mountctl} reload %f
KillMode=mixed
TimeoutStartSec=330
TimeoutStopSec=40
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""


def _completion(shell: str) -> Callable[[], str]:
    """A script that asks mountctl for completions.  It has no commands in it, so needs none."""

    def text() -> str:
        complete = get_completion_class(shell)
        assert complete is not None  # click has these three
        any_command = click.Command("mountctl")
        source = complete(any_command, {}, "mountctl", "_MOUNTCTL_COMPLETE").source()
        first, rest = source.split("\n", 1) if source.startswith("#compdef") else ("", source)
        return f"{first}\n# {MARK}\n{rest}\n".lstrip("\n")

    return text


def _page(module: str) -> Callable[[], str]:
    """A manual page, printed by another process: the command line imports no part of the daemon."""

    def text() -> str:
        command = [sys.executable, "-P", "-m", module]
        page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return f'.\\" {MARK}\n{page}'

    return text


FILES: tuple[InstalledFile, ...] = (
    InstalledFile(
        "/sbin/mount.jaxfs", _helper("mount"), "mount -t jaxfs, and fstab(5) lines", 0o755
    ),
    InstalledFile("/sbin/mount.fuse.jaxfs", _helper("mount"), "mount -t fuse.jaxfs", 0o755),
    InstalledFile(
        "/sbin/umount.fuse.jaxfs", _helper("umount"), "umount(8), where it looks for one", 0o755
    ),
    InstalledFile(
        "sbin/jaxfs",
        _helper("mount"),
        "what mount.fuse3(8) runs for mount -t fuse jaxfs#none",
        0o755,
    ),
    InstalledFile("lib/systemd/system/jaxfs@.service", _unit, "a service for each mount point"),
    InstalledFile("share/man/man1/mountctl.1", _page("mountctl.manual"), "the manual of mountctl"),
    InstalledFile("share/man/man7/jaxfs.7", _page("jaxfs.vfs.manual"), "the manual of the files"),
    InstalledFile(
        "share/man/man8/mount.jaxfs.8",
        lambda: f'.\\" {MARK}\n.so man1/mountctl.1\n',
        "the same as mountctl's",
    ),
    InstalledFile(
        "share/bash-completion/completions/mountctl", _completion("bash"), "completions for bash"
    ),
    InstalledFile("share/zsh/site-functions/_mountctl", _completion("zsh"), "completions for zsh"),
    InstalledFile(
        "share/fish/vendor_completions.d/mountctl.fish",
        _completion("fish"),
        "completions for fish",
    ),
)


def place(file: InstalledFile, prefix: str = PREFIX) -> str:
    """Returns a file's path below the root.

    >>> place(FILES[0]), place(FILES[3], "/usr")
    ('/sbin/mount.jaxfs', '/usr/sbin/jaxfs')
    """
    return os.path.join(prefix, file.path)  # noqa: PTH118  # an absolute path stays as it is


def _places(root: Path, prefix: str) -> Iterator[tuple[InstalledFile, Path]]:
    for file in FILES:
        yield file, root / place(file, prefix).lstrip("/")


def _is_ours(path: Path) -> bool:
    return path.is_file() and MARK in path.read_text(errors="replace")


def install(root: Path, prefix: str) -> None:
    """Writes all files, or none if one of another origin is in the way.

    Args:
        root: Is before every path; ``/`` on a running system.
        prefix: Such as ``/usr/local``.

    Raises:
        NotInstalled: if a file cannot be written or is of another origin.
    """
    places = list(_places(root, prefix))
    foreign = [path for _, path in places if os.path.lexists(path) and not _is_ours(path)]
    if foreign:
        raise NotInstalled(f"{foreign[0]} exists and was not made by mountctl; move it away")
    try:
        for file, path in places:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text())
            path.chmod(file.mode)
            click.echo(f"{path}")
    except OSError as error:
        raise NotInstalled(
            f"{error.filename} cannot be written: {error.strerror}; become root, or name another"
            " place with --root"
        ) from None
    _reload_systemd(root)


def uninstall(root: Path, prefix: str) -> None:
    """Removes the files that ``install`` wrote, with the same arguments.

    Raises:
        NotInstalled: if a file cannot be removed.
    """
    for _, path in _places(root, prefix):
        if _is_ours(path):
            try:
                path.unlink()
            except OSError as error:
                raise NotInstalled(f"{path} cannot be removed: {error.strerror}") from None
            click.echo(f"{path} removed")
    _reload_systemd(root)


def _reload_systemd(root: Path) -> None:
    if root == Path("/") and SYSTEMD_RUNS.is_dir():
        subprocess.run(["systemctl", "daemon-reload"], check=False)
