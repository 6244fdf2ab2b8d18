"""What a check finds, as a line of gpu.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Verdict = Literal["ok", "missed", "failed", "skipped", "timed out"]
Value = float | int | str | bool | None
WORDS_CHARACTERS = 400  # of the line on the terminal


class Outcome(msgspec.Struct, frozen=True, tag="outcome"):
    """How a check ended.

    Attributes:
        check: Its name in ``plan.CHECKS``.
        verdict: ``ok`` or ``missed``: it ran, and its target is met or is not; ``failed``: it
            raised an error; ``timed out``: it was cut by its limit.
        figures: By name; the unit is the end of the name.
        reason: Why it failed or was skipped.
        seconds: How long it took.
    """

    check: str
    verdict: Verdict
    figures: dict[str, Value] = {}
    reason: str = ""
    seconds: float = 0.0

    @property
    def has_run(self) -> bool:
        """Whether it ran to its end."""
        return self.verdict in ("ok", "missed")


class Run(msgspec.Struct, frozen=True, tag="run"):
    """The first line of a run.

    Attributes:
        platform: As JAX calls it.
        small: Whether sizes were those of a try.
        parts: The letters of the parts that were asked for.
    """

    platform: str
    small: bool
    parts: str


class Begin(msgspec.Struct, frozen=True, tag="begin"):
    """A check begins; only from its process to the runner.

    Attributes:
        check: Its name.
    """

    check: str


Line = Outcome | Run | Begin
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def encode(message: Line) -> bytes:
    """Returns a line of JSON."""
    return msgspec.json.encode(message) + b"\n"


def decode(row: bytes) -> Line:
    """Returns what ``encode`` was given."""
    return _DECODER.decode(row)


class Found(msgspec.Struct, frozen=True):
    """What a check returns.

    Attributes:
        met: Whether its target is met.
        figures: As in ``Outcome``.
    """

    met: bool
    figures: Mapping[str, Value]


def first_cause(error: BaseException) -> str:
    """Returns the type and the words of an error, without the groups that trio puts it in.

    >>> first_cause(ExceptionGroup("of a nursery", [ValueError("no device")]))
    'ValueError: no device'
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class Skip(Exception):
    """A check cannot run here; the message is why."""


def words(figures: Mapping[str, Value]) -> str:
    """Returns figures as a reader wants them.

    >>> words({"us": 41.23456, "name": "gpu:0"})
    'us=41.23 name=gpu:0'
    """
    return " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in figures.items()
    )


def line(outcome: Outcome) -> str:
    """Returns the line of a check for the terminal."""
    found = " ".join(filter(None, (outcome.reason, words(outcome.figures))))
    text = f"{outcome.verdict:9} {outcome.check:4} {outcome.seconds:5.1f} s  {found}"
    return " ".join(text.splitlines())[:WORDS_CHARACTERS]
