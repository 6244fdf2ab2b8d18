"""One line of the doctor's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """``warn``: a mount works without it, but less well; ``fail``: it does not work."""

    subject: str
    level: Level
    found: str
    remedy: str = ""


Examination = Callable[[], Iterable[Finding]]


def ok(subject: str, found: str) -> Finding:
    return Finding(subject, "ok", found)


def warn(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, "warn", found, remedy)


def fail(subject: str, found: str, remedy: str) -> Finding:
    return Finding(subject, "fail", found, remedy)
