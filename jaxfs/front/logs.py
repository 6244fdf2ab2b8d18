"""The daemon's log: lines, JSON or systemd's journal, at a level that can be changed.

Its children write their own lines to the same stderr.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from jaxfs.front import systemd
from jaxfs.options import LOG_LEVELS, Options

LEVEL_NAME = "log_level"  # in the state directory; read at SIGHUP
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


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
    handlers = [FORMATS[options.log_format](mountpoint)]
    logging.basicConfig(level=options.log_level.upper(), handlers=handlers)
    with contextlib.suppress(OSError):
        (state_dir / LEVEL_NAME).unlink()


def reload(state_dir: Path) -> str:
    """Sets the level that the file ``LEVEL_NAME`` has, if it is one; returns the level in force."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        level = (state_dir / LEVEL_NAME).read_text().strip()
        if level in LOG_LEVELS:
            logging.getLogger().setLevel(level.upper())
    return logging.getLevelName(logging.getLogger().level).lower()
