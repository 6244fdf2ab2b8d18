"""A hundred thousand calls, and what the processes are like after them."""

from __future__ import annotations

from tests.soak.clients import Client
from tests.soak.mount import Mount, Process
from tests.soak.report import Figure

CALLS, WARM = 100_000, 10_000
CLIENTS = 4


def _call(mount: Mount, calls: int) -> None:
    clients = [Client(mount.path, number, calls // CLIENTS) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    failed = [words for client in clients for words in client.account.lost]
    if failed or any(client.account.wrong for client in clients):
        raise RuntimeError(f"{len(failed)} calls failed: {failed[:3]}")


def many_calls(mount: Mount) -> list[Figure]:
    """Growth after the first tenth, in which caches and pools fill."""
    processes = {"front": mount.front, "engine": mount.engine}
    _call(mount, WARM)
    before = {name: _use(process) for name, process in processes.items()}
    _call(mount, CALLS - WARM)
    return [
        figure
        for name, process in processes.items()
        for figure in _growth(name, before[name], _use(process))
    ]


def _use(process: Process) -> tuple[int, int]:
    return process.rss_bytes, process.descriptors


def _growth(name: str, before: tuple[int, int], after: tuple[int, int]) -> list[Figure]:
    what = f"{CALLS - WARM} calls after {WARM}: {name}'s"
    grown = 100 * (after[0] - before[0]) / before[0]
    return [
        Figure(f"{what} RSS of {before[0] / 2**20:.0f} MiB grows by", grown, 5, "%"),
        Figure(f"{what} {before[1]} descriptors grow by", after[1] - before[1], 0, ""),
    ]
