"""Busy waiting: bounded, paid for by misses, and off where the switch says so."""

from __future__ import annotations

import math

import pytest

from jaxfs.ipc.spin import SWITCH, SpinPolicy, spin


class Looks:
    """A poll that finds something at the given look, 0: never."""

    def __init__(self, found_at: int) -> None:
        self.count = 0
        self._found_at = found_at

    def __call__(self) -> bool:
        self.count += 1
        return self.count == self._found_at


def test_spin_looks_until_it_finds() -> None:
    looks = Looks(5)
    assert spin(looks, 60)
    assert looks.count == 5


def test_spin_without_a_budget_looks_once() -> None:
    looks = Looks(0)
    assert not spin(looks, 0.0)
    assert looks.count == 1


def test_what_is_there_costs_no_wait() -> None:
    policy = SpinPolicy(60, miss_cost=1, skips=3)
    assert policy.wait(Looks(1))
    assert policy.skips == 3


def test_after_a_miss_waits_are_skipped() -> None:
    policy = SpinPolicy(1e-6, miss_cost=2)
    assert not policy.wait(Looks(0))
    for skips in (1, 0):
        looks = Looks(0)
        assert not policy.wait(looks)
        assert (looks.count, policy.skips) == (1, skips)
    assert policy.take_budget() == 1e-6


def test_switch_turns_every_wait_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    policy = SpinPolicy(60, miss_cost=2)
    for _ in range(3):
        assert policy.take_budget() == 0.0
    policy.missed()
    assert policy.skips == math.inf
    looks = Looks(0)
    assert not policy.wait(looks)
    assert looks.count == 1
