"""What a mount says about itself at one moment, read from its own files.

``mountctl top`` shows it and ``top --json`` prints it.  A mount that hangs is given up after
``mounts.ANSWER_S``.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from mountctl import mounts
from mountctl.errors import NotAnswering, NotMounted
from mountctl.timeouts import within

PROGRAMS, RESULTS = 100, 10_000  # most that are looked at; the totals are those of all


class DeviceStats(msgspec.Struct, frozen=True):
    """``memory`` is what the platform tells, in bytes; a CPU tells nothing."""

    name: str
    kind: str
    health: str
    unfinished_calls: int
    memory: dict[str, int]


class ProgramStats(msgspec.Struct, frozen=True):
    """Times are of whole calls, in microseconds."""

    name: str
    state: str
    device: str
    calls: int
    errors: int
    p50_usec: int
    p99_usec: int
    compile_phase: str = ""  # empty while nothing is compiled
    compile_elapsed_usec: int = 0


class UserStats(msgspec.Struct, frozen=True):
    """Whose results are kept."""

    name: str
    results: int
    result_bytes: int


class MountStats(msgspec.Struct, frozen=True):
    """``at_s`` is of the monotonic clock."""

    mountpoint: str
    at_s: float
    version: str
    health: dict[str, str]
    metrics: dict[str, float]
    devices: list[DeviceStats]
    programs: list[ProgramStats]
    users: list[UserStats]

    def count(self, key: str) -> int:
        """A number of ``health``; 0 where it has none."""
        text = self.health.get(key, "")
        return int(text) if text.isdigit() else 0


def flat_keyed(text: str) -> dict[str, str]:
    """cgroup-v2's format: a key and a value a line."""
    rows = (row.partition(" ") for row in text.splitlines())
    return {key: value for key, _, value in rows}


def _numbers(text: str) -> dict[str, int]:
    return {key: int(value) for key, value in flat_keyed(text).items() if value.isdigit()}


def metrics(text: str) -> dict[str, float]:
    """Prometheus' text format, without labels."""
    rows = (row.split() for row in text.splitlines() if row and not row.startswith("#"))
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def _device(home: Path) -> DeviceStats:
    return DeviceStats(
        name=home.name,
        kind=(home / "kind").read_text().strip(),
        health=(home / "health").read_text().strip(),
        unfinished_calls=_numbers((home / "queue").read_text()).get("unfinished_calls", 0),
        memory=_numbers((home / "memory").read_text()),
    )


def _programs(home: Path) -> Iterator[ProgramStats]:
    """One that goes away meanwhile, or is not ours to read, is left out."""
    with os.scandir(home) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names[:PROGRAMS]:
        with contextlib.suppress(OSError):
            status = flat_keyed((home / name / "status").read_text())
            stats = _numbers((home / name / "stats").read_text())
            yield ProgramStats(
                name=name,
                state=status.get("state", ""),
                device=status.get("device", ""),
                calls=stats.get("calls", 0),
                errors=stats.get("errors", 0),
                p50_usec=stats.get("total_p50_usec", 0),
                p99_usec=stats.get("total_p99_usec", 0),
                compile_phase=status.get("compile_phase", ""),
                compile_elapsed_usec=int(status.get("compile_elapsed_usec", 0)),
            )


def _users(home: Path) -> list[UserStats]:
    results: Counter[int] = Counter()
    result_bytes: Counter[int] = Counter()
    with os.scandir(home) as entries:
        for entry in islice(entries, RESULTS):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                results[found.st_uid] += 1
                result_bytes[found.st_uid] += found.st_size
    return [UserStats(_name(uid), n, result_bytes[uid]) for uid, n in results.most_common()]


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def take(mountpoint: str) -> MountStats:
    """May hang with the mount; raises OSError."""
    root = Path(mountpoint)
    return MountStats(
        mountpoint=mountpoint,
        at_s=time.monotonic(),
        version=(root / "version").read_text().partition("\n")[0],
        health=flat_keyed((root / "health").read_text()),
        metrics=metrics((root / "metrics").read_text()),
        devices=[_device(home) for home in sorted((root / "devices").iterdir())],
        programs=list(_programs(root / "programs")),
        users=_users(root / "results"),
    )


def read(mountpoint: str) -> MountStats:
    """Raises NotMounted, NotAnswering."""
    if not mounts.is_mounted(mountpoint):
        raise NotMounted(f"no jaxfs is mounted on {mountpoint}; mountctl status lists the mounts")
    try:
        return within(mounts.ANSWER_S, lambda: take(mountpoint))
    except TimeoutError:
        raise NotAnswering(
            f"{mountpoint} does not answer; mountctl logs tells why, umount --force ends it"
        ) from None
    except OSError as error:
        raise NotAnswering(f"{mountpoint}: {error.strerror}") from None


def only_mount(directory: str | None) -> str:
    """The mount that was named, or the only one there is.  Raises NotMounted."""
    if directory is not None:
        return mounts.locate(directory)
    found = sorted({mount.mountpoint for mount in mounts.jaxfs_mounts()})
    if len(found) != 1:
        there = f"there are {' '.join(found)}" if found else "there is none"
        raise NotMounted(f"name a mount: {there}")
    return found[0]
