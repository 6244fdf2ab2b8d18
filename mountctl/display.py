"""What the commands that print tables share."""

from __future__ import annotations

from rich.console import Console

STATE_STYLES = {"ok": "green", "degraded": "yellow"}
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def fixed_width(columns: int, console: Console | None = None) -> Console:
    """Returns a console that is as wide as the terminal, or of a fixed width for pipes and files.

    Args:
        columns: The width if the output is not a terminal.
        console: Where to print; standard output by default.
    """
    console = console or Console()
    return console if console.is_terminal else Console(width=columns, file=console.file)


def size(number: float) -> str:
    """Returns a number of bytes for people.

    >>> size(1023), size(1536), size(3 << 30)
    ('1023 B', '1.5 KiB', '3.0 GiB')
    """
    unit = 0
    while number >= 1024 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.0f} {UNITS[unit]}" if unit == 0 else f"{number:.1f} {UNITS[unit]}"


def duration(usec: int | None) -> str:
    """Returns a time in microseconds for people; nothing for None.

    >>> duration(3_723_999_999), duration(180_000_000_000)
    ('01:02:03', '2d 02:00:00')
    """
    if usec is None:
        return ""
    minutes, seconds = divmod(usec // 1_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (f"{days}d " if days else "") + f"{hours:02}:{minutes:02}:{seconds:02}"
