"""``mountctl top``: a mount at work, drawn again and again, as top(1) and htop(1) do.

Everything comes from the mount's own files (``sample``), so that what top shows is what any
monitoring can have.
"""

from __future__ import annotations

import contextlib
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from mountctl import mount_stats
from mountctl.mount_stats import MountStats, ProgramStats
from mountctl.status import STYLES, duration

ROWS = 20  # programs and users that are shown
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
NUMERIC = {"calls", "calls/s", "errors", "p50 µs", "p99 µs", "results", "size"}
BAR_WIDTH, WIDTH = 30, 100  # columns; WIDTH where the output is no terminal


def size(number: float) -> str:
    """``1.5 GiB``."""
    unit = 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit == 0 else f"{number:.1f} {UNITS[unit]}"


def _rate(now: MountStats, before: MountStats, metric: str) -> float:
    """A counter's growth a second; a daemon that started anew begins at 0."""
    seconds = now.at_s - before.at_s
    grown = now.metrics.get(metric, 0) - before.metrics.get(metric, 0)
    return max(0.0, grown) / seconds if seconds > 0 else 0.0


def _facts(now: MountStats, before: MountStats) -> Table:
    state = now.health.get("state", "")
    rows = [
        ("state", f"[{STYLES.get(state, 'red')}]{escape(state)}[/]"),
        ("up", duration(now.count("uptime_usec"))),
        ("engine", f"{now.health.get('engine', '')}, restarted {now.count('engine_restarts')}"),
        ("tracer", f"{now.health.get('tracer', '')}, restarted {now.count('tracer_restarts')}"),
        ("calls", f"{_rate(now, before, 'jaxfs_calls_total'):.0f}/s"),
        ("errors", f"{_rate(now, before, 'jaxfs_call_errors_total'):.0f}/s"),
        ("ended", f"{now.metrics.get('jaxfs_calls_total', 0):.0f}"),
        ("queue", str(now.count("queued_calls"))),
        ("waiting", f"{max(0, now.metrics.get('jaxfs_waiters', 1) - 1):.0f}"),  # without this one
        ("programs", f"{now.metrics.get('jaxfs_programs', 0):.0f}"),
    ]
    table = Table.grid(padding=(0, 3, 0, 0))
    half = len(rows) // 2
    for left, right in zip(rows[:half], rows[half:], strict=True):
        table.add_row(f"[dim]{left[0]}[/]", left[1], f"[dim]{right[0]}[/]", right[1])
    return table


def _bar(used: float, limit: float) -> RenderableType:
    return ProgressBar(total=max(limit, 1), completed=min(used, limit), width=BAR_WIDTH)


def _memory(now: MountStats) -> Table:
    """The mount's own memory, then that of each device that tells."""
    table = Table.grid(padding=(0, 3, 0, 0))
    used, limit = now.count("result_bytes"), now.count("result_limit_bytes")
    table.add_row("[dim]results[/]", _bar(used, limit), f"{size(used)} of {size(limit)}")
    shared = now.metrics.get("jaxfs_shared_memory_bytes", 0)
    table.add_row("[dim]shared[/]", "", size(shared))
    for device in now.devices:
        used = device.memory.get("bytes_in_use", 0)
        limit = device.memory.get("bytes_limit", 0)
        if limit:
            told = f"{size(used)} of {size(limit)}"
            table.add_row(f"[dim]{escape(device.name)}[/]", _bar(used, limit), told)
    return table


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="reverse", expand=True)
    for title in titles:
        numeric = title.split()[0] in (
            "calls",
            "calls/s",
            "errors",
            "p50",
            "p99",
            "results",
            "size",
        )
        table.add_column(title, justify="right" if numeric else "left", no_wrap=True)
    return table


def _devices(now: MountStats) -> Table:
    table = _table("device", "kind", "health", "calls")
    for device in now.devices:
        calls = str(device.unfinished_calls)
        table.add_row(*map(escape, (device.name, device.kind, device.health, calls)))
    return table


def _programs(now: MountStats, before: MountStats) -> Table:
    earlier = {program.name: program.calls for program in before.programs}
    seconds = max(now.at_s - before.at_s, 1e-9)
    grown = {p.name: max(0, p.calls - earlier.get(p.name, 0)) / seconds for p in now.programs}
    table = _table("program", "state", "device", "calls/s", "calls", "errors", "p50 µs", "p99 µs")
    rows = sorted(now.programs, key=lambda p: (-grown[p.name], -p.calls, p.name))
    for p in rows[:ROWS]:
        figures = (f"{grown[p.name]:.0f}", p.calls, p.errors, p.p50_usec, p.p99_usec)
        table.add_row(*map(escape, (p.name, _state(p), p.device)), *map(str, figures))
    return table


def _state(program: ProgramStats) -> str:
    """And how far a compile is: what it does, and for how long."""
    if not program.compile_phase:
        return program.state
    seconds = program.compile_elapsed_usec / 1e6
    return f"{program.state}: {program.compile_phase} {seconds:.0f} s"


def _users(now: MountStats) -> Table:
    table = _table("user", "results", "size")
    for user in now.users[:ROWS]:
        table.add_row(escape(user.name), str(user.results), size(user.result_bytes))
    return table


def screen(now: MountStats, before: MountStats) -> RenderableType:
    """One picture; rates are those since ``before``."""
    head = Group(_facts(now, before), _memory(now))
    title = f"[bold]{escape(now.mountpoint)}[/]  {escape(now.version)}"
    parts: list[RenderableType] = [Panel(head, title=title, title_align="left"), _devices(now)]
    if now.programs:
        parts += ["", _programs(now, before)]
    if now.users:
        parts += ["", _users(now)]
    return Group(*parts)


def once(mountpoint: str, interval_s: float) -> tuple[MountStats, MountStats]:
    """Two samples, for the rates between them.  Raises NotMounted, NotAnswering."""
    before = mount_stats.read(mountpoint)
    time.sleep(interval_s)
    return mount_stats.read(mountpoint), before


def show(mountpoint: str, interval_s: float, console: Console | None = None) -> None:
    """One picture on standard output."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(width=WIDTH, file=console.file)
    console.print(screen(*once(mountpoint, interval_s)))


def live(mountpoint: str, interval_s: float) -> None:
    """Until q or Ctrl-C.  Raises NotMounted, NotAnswering when the mount goes away."""
    before = mount_stats.read(mountpoint)
    picture = Live(screen(before, before), screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _keys(), picture as shown:
        while not _quit_within(interval_s):
            now = mount_stats.read(mountpoint)
            shown.update(screen(now, before), refresh=True)
            before = now


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Inside the context keys are read as they are typed."""
    if not sys.stdin.isatty():
        yield
        return
    kept = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)


def _quit_within(seconds: float) -> bool:
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(ready) and sys.stdin.read(1) in "qQ"
