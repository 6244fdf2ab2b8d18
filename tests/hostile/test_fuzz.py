"""The fuzzer sees what it is to see, and can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from jaxfs.errors import Invalid, JaxfsError, NoSpace, RunFailed
from tests.tools import fuzz

RUN_S = 0.5


def test_mutants_depend_on_seed_and_number_only() -> None:
    first = [fuzz.mutant(7, number) for number in range(50)]
    assert first == [fuzz.mutant(7, number) for number in range(50)]
    assert first != [fuzz.mutant(8, number) for number in range(50)]
    assert {kind for kind, _ in first} == set(fuzz.SEEDS)


@pytest.mark.parametrize("error", [RunFailed("internal error"), Invalid("")])
def test_refusal_nobody_can_act_on_breaks_a_rule(error: JaxfsError) -> None:
    with pytest.raises(fuzz.Broken, match="the trace failed with E"):
        fuzz.refusal("trace", error)


def test_crashes_are_told_from_refusals() -> None:
    crash = Invalid("the compiler crashed on this program (SIGSEGV)")
    assert fuzz.refusal("compile", crash) == ("compile: crash", "SIGSEGV")
    assert fuzz.refusal("trace", NoSpace("full")) == ("trace: ENOSPC", "")


def test_short_run_breaks_no_rule_and_keeps_no_mutant(tmp_path: Path) -> None:
    tally = trio.run(fuzz.fuzz, 1, RUN_S, tmp_path)
    assert tally.count > 0
    assert not list(tmp_path.iterdir())
    assert f"{tally.count} mutants" in fuzz.report(tally, 1, RUN_S)
