"""A measured value, what is outside its limit, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """One figure of one package.

    Attributes:
        value: None where the package has nothing to measure.
        offenders: One line for each place that a person would change to improve the value.
    """

    value: float | None
    offenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limit:
    """A condition on a value, with the words to show for it."""

    text: str
    holds: Callable[[float], bool]


def at_most(limit: float) -> Limit:
    """Returns the limit of values up to and including ``limit``."""
    return Limit(f"<= {limit:g}", lambda value: value <= limit)


def at_least(limit: float) -> Limit:
    """Returns the limit of values from ``limit``."""
    return Limit(f">= {limit:g}", lambda value: value >= limit)


def under(limit: float) -> Limit:
    """Returns the limit of values below ``limit``."""
    return Limit(f"< {limit:g}", lambda value: value < limit)


def between(low: float, high: float) -> Limit:
    """Returns the limit of values from ``low`` to ``high``, both included."""
    return Limit(f"{low:g}-{high:g}", lambda value: low <= value <= high)


def count(offenders: list[str]) -> Measured:
    """Returns the number of offenders as a value, with the offenders."""
    return Measured(len(offenders), tuple(offenders))


def percent(part: int, whole: int, offenders: list[str]) -> Measured:
    """Returns a share of ``whole`` in percent, or no value if ``whole`` is 0."""
    return Measured(100 * part / whole if whole else None, tuple(offenders))
