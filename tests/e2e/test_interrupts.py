"""Signals that come to processes which wait."""

from __future__ import annotations

import signal
import time

import pytest

from tests.conftest import Mount
from tests.e2e.programs import SECONDS
from tests.e2e.requests import (
    BOUND_S,
    reader,
    start,
)


@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "QUIT", "KILL"])
def test_waiting_reader_ends_on_a_signal(spin: Mount, number: str) -> None:
    start(spin, "slow", SECONDS * 20)  # a reader may be long in coming; nobody waits for the end
    waiting = reader(spin, "slow")
    waiting.send_signal(getattr(signal, f"SIG{number}"))
    assert waiting.wait(BOUND_S) == -getattr(signal, f"SIG{number}")
    assert spin.keyed("results/slow.status")["state"] == "running"


def test_stopped_and_continued_reader_is_not_harmed(spin: Mount) -> None:
    start(spin, "slow", SECONDS * 4)
    waiting = reader(spin, "slow")
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGWINCH, signal.SIGURG):
        waiting.send_signal(number)
        time.sleep(0.05)
    out, error = waiting.communicate(timeout=BOUND_S * 3)
    assert waiting.returncode == 0, error
    assert len(out) > 100
