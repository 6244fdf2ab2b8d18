"""``mountctl top``: draws a mount at work again and again, as top(1) and htop(1) do.

Everything comes from the mount's own files (``mount_stats``), so a monitoring system can show the
same.
"""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from mountctl import mount_stats
from mountctl.display import STATE_STYLES, duration, fixed_width, size
from mountctl.mount_stats import MountStats

ROWS = 20  # programs and users that are shown
NUMERIC_TITLES = {"calls", "calls/s", "errors", "p50 µs", "p99 µs", "results", "size"}
BAR_WIDTH, WIDTH = 30, 100  # columns; WIDTH if the output is not a terminal


def _rate(now: MountStats, before: MountStats, metric: str) -> float:
    """Returns a counter's growth per second; 0 after a restart of the daemon."""
    seconds = now.at_s - before.at_s
    grown = now.metrics.get(metric, 0) - before.metrics.get(metric, 0)
    return max(0.0, grown) / seconds if seconds > 0 else 0.0


def _summary(now: MountStats, before: MountStats) -> RenderableType:
    state = now.health.get("state", "")
    rows = [
        ("state", f"[{STATE_STYLES.get(state, 'red')}]{escape(state)}[/]"),
        ("up", duration(now.count("uptime_usec"))),
        ("engine", f"{now.health.get('engine', '')}, restarted {now.count('engine_restarts')}"),
        ("tracer", f"{now.health.get('tracer', '')}, restarted {now.count('tracer_restarts')}"),
        ("calls", f"{_rate(now, before, 'jaxfs_calls_total'):.0f}/s"),
        ("errors", f"{_rate(now, before, 'jaxfs_call_errors_total'):.0f}/s"),
        ("ended", f"{now.metrics.get('jaxfs_calls_total', 0):.0f}"),
        ("queue", str(now.count("queued_calls"))),
        # without the request that reads the metric
        ("waiting", f"{max(0, now.metrics.get('jaxfs_waiters', 1) - 1):.0f}"),
        ("programs", f"{now.metrics.get('jaxfs_programs', 0):.0f}"),
    ]
    table = Table.grid(padding=(0, 3, 0, 0))
    half = len(rows) // 2
    for left, right in zip(rows[:half], rows[half:], strict=True):
        table.add_row(f"[dim]{left[0]}[/]", left[1], f"[dim]{right[0]}[/]", right[1])
    return table


def _memory(now: MountStats, _before: MountStats) -> RenderableType:
    """The mount's own memory, then that of each device that shows it."""
    table = Table.grid(padding=(0, 3, 0, 0))
    used, limit = now.count("result_bytes"), now.count("result_limit_bytes")
    table.add_row("[dim]results[/]", _bar(used, limit), f"{size(used)} of {size(limit)}")
    shared = now.metrics.get("jaxfs_shared_memory_bytes", 0)
    table.add_row("[dim]shared[/]", "", size(shared))
    for device in now.devices:
        used = device.memory.get("bytes_in_use", 0)
        limit = device.memory.get("bytes_limit", 0)
        if limit:
            figures = f"{size(used)} of {size(limit)}"
            table.add_row(f"[dim]{escape(device.name)}[/]", _bar(used, limit), figures)
    return table


def _bar(used: float, limit: float) -> RenderableType:
    return ProgressBar(total=max(limit, 1), completed=min(used, limit), width=BAR_WIDTH)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="reverse", expand=True)
    for title in titles:
        is_numeric = title in NUMERIC_TITLES
        table.add_column(title, justify="right" if is_numeric else "left", no_wrap=True)
    return table


def _devices(now: MountStats, _before: MountStats) -> Table:
    table = _table("device", "kind", "health", "calls")
    for device in now.devices:
        calls = str(device.unfinished_calls)
        table.add_row(*map(escape, (device.name, device.kind, device.health, calls)))
    return table


def _programs(now: MountStats, before: MountStats) -> Table:
    """Programs, those with most calls per second first."""
    earlier = {program.name: program.calls for program in before.programs}
    seconds = max(now.at_s - before.at_s, 1e-9)
    rates = {p.name: max(0, p.calls - earlier.get(p.name, 0)) / seconds for p in now.programs}
    table = _table("program", "state", "device", "calls/s", "calls", "errors", "p50 µs", "p99 µs")
    rows = sorted(now.programs, key=lambda p: (-rates[p.name], -p.calls, p.name))
    for p in rows[:ROWS]:
        figures = (f"{rates[p.name]:.0f}", p.calls, p.errors, p.p50_usec, p.p99_usec)
        state = p.state
        if p.compile_phase:
            state += f": {p.compile_phase} {p.compile_elapsed_usec / 1e6:.0f} s"
        table.add_row(*map(escape, (p.name, state, p.device)), *map(str, figures))
    return table


def _users(now: MountStats, _before: MountStats) -> Table:
    table = _table("user", "results", "size")
    for user in now.users[:ROWS]:
        table.add_row(escape(user.name), str(user.results), size(user.result_bytes))
    return table


HEAD: tuple[Callable[[MountStats, MountStats], RenderableType], ...] = (_summary, _memory)
TABLES: tuple[Callable[[MountStats, MountStats], Table], ...] = (_devices, _programs, _users)


def screen(now: MountStats, before: MountStats) -> RenderableType:
    """Returns one picture; rates are those since ``before``."""
    head = Group(*(draw(now, before) for draw in HEAD))
    title = f"[bold]{escape(now.mountpoint)}[/]  {escape(now.version)}"
    pictures: list[RenderableType] = [Panel(head, title=title, title_align="left")]
    for table in (draw(now, before) for draw in TABLES):
        if table.row_count:
            pictures += [table] if len(pictures) == 1 else ["", table]
    return Group(*pictures)


def once(mountpoint: str, interval_s: float) -> tuple[MountStats, MountStats]:
    """Reads a mount twice; returns the second and the first, as ``screen`` takes them.

    Raises:
        NotMounted: if no jaxfs is mounted there.
        NotAnswering: if reading fails or takes too long.
    """
    before = mount_stats.read(mountpoint)
    time.sleep(interval_s)
    return mount_stats.read(mountpoint), before


def show(mountpoint: str, interval_s: float, console: Console | None = None) -> None:
    """Prints one picture; raises what ``once`` does."""
    fixed_width(WIDTH, console).print(screen(*once(mountpoint, interval_s)))


def live(mountpoint: str, interval_s: float) -> None:
    """Draws until q or Ctrl-C; raises what ``once`` does, also if the mount ends meanwhile."""
    before = mount_stats.read(mountpoint)
    picture = Live(screen(before, before), screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _unbuffered_keys(), picture as shown:
        while not _quits_within(interval_s):
            now = mount_stats.read(mountpoint)
            shown.update(screen(now, before), refresh=True)
            before = now


@contextlib.contextmanager
def _unbuffered_keys() -> Iterator[None]:
    """Inside the context a key can be read before Enter is pressed."""
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)


def _quits_within(seconds: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in "qQ"
