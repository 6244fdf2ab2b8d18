"""What an examination finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

Level = Literal["ok", "warn", "fail"]


class Finding(msgspec.Struct, frozen=True):
    """One line of the report.

    Attributes:
        subject: What was checked.
        level: ``warn``: a mount works without it, but less well; ``fail``: it does not work.
        found: What was found, in a few words.
        remedy: What to do; empty if it is ok.
    """

    subject: str
    level: Level
    found: str
    remedy: str = ""


Examination = Callable[[], Iterable[Finding]]


def ok(subject: str, found: str) -> Finding:
    """Returns a finding that asks for nothing."""
    return Finding(subject, "ok", found)


def warn(subject: str, found: str, remedy: str) -> Finding:
    """Returns a finding with which a mount works less well."""
    return Finding(subject, "warn", found, remedy)


def fail(subject: str, found: str, remedy: str) -> Finding:
    """Returns a finding with which a mount does not work."""
    return Finding(subject, "fail", found, remedy)
