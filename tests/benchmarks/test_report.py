"""What a run shows: verdicts, ratios, and that a busy machine shows nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import chosen_peers
from benchmarks.clients.samples import Figure, Sample, figure
from benchmarks.peers import Baseline, EchoC, Jaxfs
from benchmarks.peers.jaxfs import MountFailed
from benchmarks.plan import FULL, MIB, SMALL, Cell, Client, Section
from benchmarks.process_counters import Counters
from benchmarks.report import output
from benchmarks.report.targets import FLOOR_LIMIT_S, Outcome, ratios, verdicts, why_void
from benchmarks.rounds import Comparison, Spread
from benchmarks.run import Results


def measured(peer: str, *round_us: float, client: Client = Client.C, size: int = SMALL) -> Figure:
    """A figure whose rounds have these median calls."""
    used = Counters(voluntary_switches=6, involuntary_switches=1, runs=7, cpu_ns=9000)
    rounds = [Sample(0, 10**9, [int(us * 1000)] * 3, {"client": used}) for us in round_us]
    return figure(peer, Cell(size, 1, len(rounds), 0.1, client=client), rounds)


def results(*figures: Figure) -> Results:
    names = {one.peer: "a peer" for one in figures}
    return Results({}, 0.0, peers=names, start_s=dict.fromkeys(names, 1.0), figures=list(figures))


def outcomes(found: Results) -> set[Outcome]:
    return {verdict.outcome for verdict in verdicts(found)} - {Outcome.NOT_MEASURED}


@pytest.mark.parametrize(
    ("floor_us", "expected"),
    [
        ((14, 14.9, 40), {Outcome.MET}),  # the median round decides
        ((9, 15.1, 15.2), {Outcome.VOID}),
    ],
)
def test_verdicts_are_void_where_the_c_floor_is_slow(
    floor_us: tuple[float, ...], expected: set[Outcome]
) -> None:
    found = results(measured(EchoC.name, *floor_us), measured(Jaxfs.name, 20, 21, 22))
    assert outcomes(found) == expected
    is_void = expected == {Outcome.VOID}
    assert (why_void(found) is not None) == is_void
    first = output.as_markdown(found).split("\n\n")[2]
    assert ("void for targets" in first) == is_void
    assert f"{FLOOR_LIMIT_S * 1e6:g} us" in first
    assert bool(json.loads(output.as_json(found))["void"]) == is_void


def test_verdicts_are_void_without_a_c_floor() -> None:
    python = Client.PYTHON
    found = results(
        measured("fastapi", 100, client=python), measured(Jaxfs.name, 30, client=python)
    )
    assert outcomes(found) == {Outcome.VOID}


def test_a_target_names_its_floor_and_gives_the_other_floors() -> None:
    peers = {EchoC.name: 10, "echo-python": 20, "echo-pyfuse3": 40, Jaxfs.name: 60}
    found = results(*(measured(name, us) for name, us in peers.items()))
    (verdict,) = (v for v in verdicts(found) if "echo-c" in v.target)
    assert verdict.outcome == Outcome.MISSED
    assert verdict.found.startswith("6.00 x")
    assert verdict.found.endswith("3.00 x echo-python; 1.50 x echo-pyfuse3")


@pytest.mark.parametrize(
    ("rounds_us", "expected"),
    [((20, 30, 40), Outcome.MET), ((20, 33, 40), Outcome.MISSED), ((22, 29, 40), Outcome.MISSED)],
)
def test_not_slower_than_another_checkout_by_fastest_and_median_rounds(
    rounds_us: tuple[float, ...], expected: Outcome
) -> None:
    found = results(
        measured(EchoC.name, 10, 10, 10),
        measured(Baseline.name, 20, 30, 40),
        measured(Jaxfs.name, *rounds_us),
    )
    (verdict,) = (v for v in verdicts(found) if Baseline.name in v.target)
    assert verdict.outcome == expected


def test_ratios_compare_the_same_client() -> None:
    found = ratios(
        [
            measured(EchoC.name, 10, 12, 20),
            measured(EchoC.name, 100, 100, 100, client=Client.PYTHON),
            measured(Jaxfs.name, 50, 60, 80),
        ]
    )
    assert [(r.peer, r.client, r.fastest, r.median) for r in found] == [(EchoC.name, "C", 5, 5)]


def test_report_shows_fastest_median_and_spread_of_the_rounds() -> None:
    text = output.as_markdown(results(measured(EchoC.name, 10, 12, 25)))
    assert "| 1 C | echo-c | 3 | 10 us | 12 us | 2.50 | 25 us | 1.00 (1.00) |" in text
    assert "instructions are outside the kernel, not available here" in text
    assert "| 1 C | echo-c | client | 2.00 (2.00 to 2.00) | 0.33" in text


def test_comparison_keeps_the_ratio_within_each_round() -> None:
    found = Comparison.of("a against b", [1, 2, 30], [1, 4, 10])
    assert found.ratios == Spread(0.5, 1, 3)
    assert found.ours_s == Spread(1, 2, 30)


def test_a_section_can_be_measured_alone() -> None:
    limited = FULL.limited(frozenset({Section.SMALL_CALL}))
    assert {cell.size_bytes for cell in limited.cells} == {SMALL}
    assert {cell.client for cell in limited.cells} == set(Client)
    assert max(cell.size_bytes for cell in FULL.cells) == 256 * MIB


def test_another_checkout_is_a_peer_beside_jaxfs(tmp_path: Path) -> None:
    names = [peer.name for peer in chosen_peers(("jaxfs", "echo-c"), tmp_path)]
    assert names == ["echo-c", "jaxfs", "jaxfs-before"]


def test_another_checkout_needs_its_own_environment(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(MountFailed, match="make setup"), Baseline(tmp_path).running(work, (64,)):
        pass
