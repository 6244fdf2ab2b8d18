"""Damaged state directories with the real compiler and engine; `make fuzz` tries hundreds."""

from __future__ import annotations

import pytest
import trio

from tests.tools.state_fuzz import fuzz

STATES = 12


@pytest.mark.parametrize("seed", [3])
def test_nothing_is_wrong_nothing_fails_and_all_heals(seed: int) -> None:
    figures = trio.run(fuzz, STATES, seed)
    assert figures.states == STATES
    assert figures.wrong == figures.failed_mounts == figures.unhealed == []
