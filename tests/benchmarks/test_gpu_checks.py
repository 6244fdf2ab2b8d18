"""`make gpu`: nothing that one check does stops the next, and the report has a row for each."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.gpu import report
from benchmarks.gpu.__main__ import not_executed
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.config import Config
from benchmarks.gpu.outcomes import Found, Line, Outcome, Run, Skip, encode
from benchmarks.gpu.plan import CHECKS, ORDER, Check, Group, batches, selected
from benchmarks.gpu.process import run_one
from benchmarks.gpu.runner import Runner

STAND_IN = """
import os, sys, time
from benchmarks.gpu.outcomes import Begin, Outcome, encode
fd, names = int(sys.argv[1]), sys.argv[4:]
os.set_inheritable(fd, False)
for name in names:
    os.write(fd, encode(Begin(name)))
    if name == "hang":
        time.sleep(60)
    if name == "die":
        print("a last message", flush=True)
        os.abort()
    os.write(fd, encode(Outcome(name, "ok", {"pid": os.getpid()})))
"""
GROUP = Group("stand_in")


def check(name: str, limit_s: float = 30.0) -> Check:
    return Check(name, "", "", limit_s, GROUP)


def outcomes_of(tmp_path: Path, *checks: Check, budget_s: float = 60.0) -> list[Outcome]:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    found: list[Outcome] = []
    config = Config("cpu", str(tmp_path))
    command = (sys.executable, str(script))
    Runner(config, budget_s, found.append, command=command).run(checks)
    return found


def test_a_check_that_does_not_end_is_cut_and_the_next_one_runs(tmp_path: Path) -> None:
    first, cut, last = outcomes_of(tmp_path, check("a"), check("hang", 1.0), check("b"))
    assert [first.verdict, cut.verdict, last.verdict] == ["ok", "timed out", "ok"]
    assert cut.reason == "no end after 1 s"
    assert first.figures["pid"] != last.figures["pid"]


def test_a_process_that_dies_fails_its_check_and_the_next_one_runs(tmp_path: Path) -> None:
    first, dead, last = outcomes_of(tmp_path, check("a"), check("die"), check("b"))
    assert [first.verdict, dead.verdict, last.verdict] == ["ok", "failed", "ok"]
    assert dead.reason == "its process ended: SIGABRT; a last message"


def test_checks_share_a_process_as_long_as_all_goes_well(tmp_path: Path) -> None:
    first, second = outcomes_of(tmp_path, check("a"), check("b"))
    assert first.figures == second.figures


def test_checks_beyond_the_budget_are_left_out_and_this_is_their_reason(tmp_path: Path) -> None:
    cut, late = outcomes_of(tmp_path, check("hang"), check("a"), budget_s=6.0)
    assert [cut.verdict, late.verdict] == ["timed out", "skipped"]
    assert late.reason == "the budget of 6 s was used up"


async def test_a_check_is_ok_missed_skipped_or_failed(tmp_path: Path) -> None:
    async def run(raises: Exception | None = None, *, met: bool = True) -> Outcome:
        async def one(_: Bench) -> Found:
            if raises is not None:
                raise raises
            return Found(met, {"us": 1.0})

        return await run_one(Bench(Config("cpu", str(tmp_path))), "B1", one)

    assert (await run()).verdict == "ok"
    missed, skipped, failed = (
        await run(met=False),
        await run(Skip("why")),
        await run(ValueError("x")),
    )
    assert (missed.verdict, missed.figures) == ("missed", {"us": 1.0})
    assert (skipped.verdict, skipped.reason) == ("skipped", "why")
    assert (failed.verdict, failed.reason) == ("failed", "ValueError: x")


def test_every_check_of_the_plan_has_a_function() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for batch in batches(CHECKS):
        module = importlib.import_module(f"benchmarks.gpu.checks.{batch[0].group.module}")
        assert [check.name for check in batch] == list(module.CHECKS)


def test_parts_come_in_the_order_of_their_worth_with_what_they_need() -> None:
    assert [check.name for check in selected("ha")] == ["A0", "A1", "H1"]
    names = [check.name for check in selected(ORDER)]
    assert sorted(names) == sorted(check.name for check in CHECKS)
    assert "".join(dict.fromkeys(name[0] for name in names)) == "APBDCEFGH"


def test_a_try_fails_if_a_check_did_not_run_to_its_end() -> None:
    found = [
        Outcome("B1", "ok"),
        Outcome("B2", "missed"),
        Outcome("B3", "failed"),
        Outcome("B4", "timed out"),
        Outcome("B5", "skipped"),
        Outcome("F1", "skipped"),
    ]
    assert not_executed(found, on_a_gpu=False) == ["B3", "B4", "B5"]
    assert not_executed(found, on_a_gpu=True) == ["B3", "B4"]


def test_report_has_a_row_for_what_no_card_has_run(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    card = Outcome("A0", "ok", {"device_kind": "a card"})
    run: list[Line] = [Run("cuda", False, "AB"), card, Outcome("B1", "missed", {"us": 50.0})]
    report.update(run, path)
    late = Outcome("B1", "skipped", reason="the budget was used up")
    report.update([Run("cuda", False, "E"), Outcome("E1", "ok", {"us": 5.0}), late], path)
    rows = path.with_suffix(".md").read_text().splitlines()
    assert "| B1 | call of f32[8] | &lt;= 1.5x plain, or + 40 us | us=50 | missed |" in rows
    assert "| E1 | 4 users at once, 50 small calls each | right | us=5 | ok |" in rows
    assert sum("| not run |" in row for row in rows) == len(CHECKS) - 3
    assert "Card: device_kind a card." in rows


def test_report_takes_no_figures_of_a_machine_without_a_card(tmp_path: Path) -> None:
    lines: list[Line] = [Run("cuda", False, "A"), Outcome("A0", "failed"), Outcome("A1", "missed")]
    with pytest.raises(ValueError, match="no card was found"):
        report.update(lines, tmp_path / "gpu.json")


@pytest.mark.parametrize("run", [Run("cpu", False, "B"), Run("cuda", True, "B")])
def test_report_takes_no_figures_but_those_of_a_card(tmp_path: Path, run: Run) -> None:
    with pytest.raises(ValueError, match="not those of a card"):
        report.update([run, Outcome("B1", "ok")], tmp_path / "gpu.json")


def test_lines_of_a_run_that_was_cut_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "gpu.jsonl"
    lines: list[Line] = [Run("cuda", False, "B"), Outcome("B1", "ok", {"us": 1.5, "name": None})]
    path.write_bytes(b"".join(map(encode, lines)) + encode(lines[1])[:20])
    assert report.read(path) == lines
    assert msgspec.json.decode(encode(lines[1]))["figures"] == {"us": 1.5, "name": None}


def test_committed_report_is_that_of_its_json() -> None:
    assert report.PATH.with_suffix(".md").read_text() == report.as_markdown(report.load())
