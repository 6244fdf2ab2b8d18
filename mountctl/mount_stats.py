"""What a mount's own files show at one moment.

``mountctl top`` draws it and ``top --json`` prints it.  Reading is given up after
``mounts.ANSWER_S``, as a mount may hang.
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

PROGRAMS, RESULTS = 100, 10_000  # most that are read; totals come from health and metrics


class DeviceStats(msgspec.Struct, frozen=True):
    """One directory of ``devices/``.

    Attributes:
        name: Such as ``cpu:0``.
        kind: As JAX calls it.
        health: ``ok``, or why not.
        unfinished_calls: Calls that wait or run.
        memory: What the platform shows, in bytes; empty for a CPU.
    """

    name: str
    kind: str
    health: str
    unfinished_calls: int
    memory: dict[str, int]


class ProgramStats(msgspec.Struct, frozen=True):
    """One directory of ``programs/``.

    Attributes:
        name: The program.
        state: Such as ``ready`` or ``compiling``.
        device: Where it runs.
        calls: Finished calls.
        errors: Those of them that failed.
        p50_usec: Median of the time of a whole call.
        p99_usec: 99th percentile of that time.
        compile_phase: Empty while nothing is compiled.
        compile_elapsed_usec: How long the compile has taken until now.
    """

    name: str
    state: str
    device: str
    calls: int
    errors: int
    p50_usec: int
    p99_usec: int
    compile_phase: str = ""
    compile_elapsed_usec: int = 0


class UserStats(msgspec.Struct, frozen=True):
    """The results that one user owns.

    Attributes:
        name: The user's name, or the uid if it has none.
        results: How many.
        result_bytes: Their size.
    """

    name: str
    results: int
    result_bytes: int


class MountStats(msgspec.Struct, frozen=True):
    """All of a mount.

    Attributes:
        mountpoint: Absolute path.
        at_s: When it was read, by the monotonic clock.
        version: The first line of ``version``.
        health: ``health``, key by key.
        metrics: ``metrics``, without the ones that have labels.
        devices: In the order of their names.
        programs: At most ``PROGRAMS`` of them.
        users: Those with results, most results first.
    """

    mountpoint: str
    at_s: float
    version: str
    health: dict[str, str]
    metrics: dict[str, float]
    devices: list[DeviceStats]
    programs: list[ProgramStats]
    users: list[UserStats]

    def count(self, key: str) -> int:
        """Returns a number of ``health``; 0 if it has none."""
        text = self.health.get(key, "")
        return int(text) if text.isdigit() else 0


def flat_keyed(text: str) -> dict[str, str]:
    r"""Parses cgroup v2's format: a key and a value on each line.

    >>> flat_keyed("state ok\nprograms 2\n")
    {'state': 'ok', 'programs': '2'}
    """
    rows = (line.partition(" ") for line in text.splitlines())
    return {key: value for key, _, value in rows}


def _numbers(file: Path) -> dict[str, int]:
    pairs = flat_keyed(file.read_text()).items()
    return {key: int(value) for key, value in pairs if value.isdigit()}


def metrics(text: str) -> dict[str, float]:
    r"""Parses Prometheus's text format; leaves out samples with labels.

    >>> metrics('# TYPE a gauge\na 2\nb{device="cpu:0", kind="x"} 3\n')
    {'a': 2.0}
    """
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {row[0]: float(row[1]) for row in rows if len(row) == 2}


def _read_programs(home: Path) -> Iterator[ProgramStats]:
    """Yields the programs; leaves out those that are removed meanwhile, or are not readable."""
    with os.scandir(home) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for name in names[:PROGRAMS]:
        with contextlib.suppress(OSError):
            status = flat_keyed((home / name / "status").read_text())
            stats = _numbers(home / name / "stats")
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


def _read_users(home: Path) -> list[UserStats]:
    results: Counter[int] = Counter()
    result_bytes: Counter[int] = Counter()
    with os.scandir(home) as entries:
        for entry in islice(entries, RESULTS):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                results[found.st_uid] += 1
                result_bytes[found.st_uid] += found.st_size
    return [UserStats(_user_name(uid), n, result_bytes[uid]) for uid, n in results.most_common()]


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read_mount(mountpoint: str) -> MountStats:
    root = Path(mountpoint)
    return MountStats(
        mountpoint=mountpoint,
        at_s=time.monotonic(),
        version=(root / "version").read_text().partition("\n")[0],
        health=flat_keyed((root / "health").read_text()),
        metrics=metrics((root / "metrics").read_text()),
        devices=[
            DeviceStats(
                name=home.name,
                kind=(home / "kind").read_text().strip(),
                health=(home / "health").read_text().strip(),
                unfinished_calls=_numbers(home / "queue").get("unfinished_calls", 0),
                memory=_numbers(home / "memory"),
            )
            for home in sorted((root / "devices").iterdir())
        ],
        programs=list(_read_programs(root / "programs")),
        users=_read_users(root / "results"),
    )


def read(mountpoint: str) -> MountStats:
    """Reads a mount's files.

    Raises:
        NotMounted: if no jaxfs is mounted there.
        NotAnswering: if reading fails or takes too long.
    """
    mounts.require_mounted(mountpoint)
    try:
        return within(mounts.ANSWER_S, lambda: _read_mount(mountpoint))
    except TimeoutError:
        raise NotAnswering(
            f"{mountpoint} does not answer; mountctl logs shows why, umount --force ends it"
        ) from None
    except OSError as error:
        raise NotAnswering(f"{mountpoint}: {error.strerror}") from None


def only_mount(directory: str | None) -> str:
    """Returns the mount point that the user named, or the only one; raises NotMounted."""
    if directory is not None:
        return mounts.locate(directory)
    found = sorted({mount.mountpoint for mount in mounts.jaxfs_mounts()})
    if len(found) != 1:
        candidates = f"there are {' '.join(found)}" if found else "there is none"
        raise NotMounted(f"name a mount: {candidates}")
    return found[0]
