"""The daemon's log: lines, JSON or systemd's journal, at a level that can be changed.

Its children write their own lines to the same stderr.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import attrs
import msgspec

from jaxfs.errors import shortened
from jaxfs.front import systemd
from jaxfs.options import LOG_LEVELS, Options

LEVEL_NAME = "log_level"  # in the state directory; read at SIGHUP
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


BURST = 10  # records of one kind in a period; then they are counted
BURSTS = {"jaxfs.posix.stderr_log": 200}  # by logger: a traceback is a record for each line
PERIOD_S = 60.0
KINDS = 1000  # that are counted at once
MAX_MESSAGE_CHARS = 4000


@attrs.define
class _Kind:
    """Records of one logger with one text before its arguments are filled in.

    Attributes:
        since_s: When the period began, in seconds of the monotonic clock.
        written: How many were written in it.
        left_out: How many were not.
    """

    since_s: float
    written: int = 0
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """Counts records that repeat instead of letting them all through.

    A user decides how often something goes wrong, and each record may have a traceback.  ``BURST``
    of one kind pass in ``PERIOD_S``; the next one after that has the number of those left out.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Kind] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether a record is written; shortens it, and adds how often it was not."""
        now_s, key = self._clock(), (record.name, record.levelno, str(record.msg))
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(now_s)
            if len(self._kinds) > KINDS:
                self._kinds.popitem(last=False)
        repeated = ""
        if now_s - kind.since_s >= PERIOD_S:
            if kind.left_out:
                repeated = f" (repeated {kind.left_out} times)"
            kind.since_s, kind.written, kind.left_out = now_s, 0, 0
        if kind.written >= BURSTS.get(record.name, BURST):
            kind.left_out += 1
            return False
        kind.written += 1
        record.msg = shortened(record.getMessage(), MAX_MESSAGE_CHARS) + repeated
        record.args = None
        return True


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, without its end."""
        fields = {
            "time": round(record.created, 6),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


class ToJournal(logging.Handler):
    """Sends each record as one entry to the journal, or to stderr if there is none.

    Args:
        mountpoint: A field of each entry.
    """

    def __init__(self, mountpoint: str) -> None:
        super().__init__()
        self._mountpoint = mountpoint
        self._fallback = _text_lines()

    def emit(self, record: logging.LogRecord) -> None:
        """Sends one record."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(PRIORITIES.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "jaxfs",
            "JAXFS_MOUNT": self._mountpoint,
            "JAXFS_LOGGER": record.name,
        }
        try:
            systemd.journal(fields)
        except OSError:
            self._fallback.emit(record)


def _text_lines() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler


def _json_lines() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine())
    return handler


FORMATS: dict[str, Callable[[str], logging.Handler]] = {
    "text": lambda _mountpoint: _text_lines(),
    "json": lambda _mountpoint: _json_lines(),
    "journal": ToJournal,
}


def configure(options: Options, mountpoint: str, state_dir: Path) -> None:
    """Configures logging by the options.

    The level that was set at runtime for an earlier daemon of this mount is removed.
    """
    handler = FORMATS[options.log_format](mountpoint)
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    with contextlib.suppress(OSError):
        (state_dir / LEVEL_NAME).unlink()


def reload(state_dir: Path) -> str:
    """Sets the level that the file ``LEVEL_NAME`` has, if it is one; returns the level in force."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        level = (state_dir / LEVEL_NAME).read_text().strip()
        if level in LOG_LEVELS:
            logging.getLogger().setLevel(level.upper())
    return logging.getLevelName(logging.getLogger().level).lower()
