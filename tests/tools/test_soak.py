"""The soak's own parts: attacks are tried, a miss is seen, and earlier rows are kept."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from tests.soak.attacks import ALL
from tests.soak.attacks.archives import npz_bomb, overlapping
from tests.soak.attacks.attacker import Attacker
from tests.soak.report import Figure, Report, as_markdown, load, save
from tests.soak.stress import Row, Times
from tests.soak.third_user import STEPS

QUICK = Times(100, 0.001, 0.01, 0.02)


ROW = Row(
    attack="a",
    what="what",
    seconds=60.0,
    steps=dict.fromkeys(STEPS, QUICK),
    growth_mib=1.0,
    refused={},
    internal_errors=0,
    wrong=0,
    stuck=0,
    attackers={"EDQUOT": 3},
    reasons=[],
)


def test_limits_of_the_third_user_are_seen() -> None:
    slow = {**ROW.steps, "stat": Times(9, 0.01, 0.06, 0.07), "call": Times(0, 0.0, 0.0, 0.0)}
    assert ROW.missed == []
    assert replace(ROW, refused={"EDQUOT": 1}).missed == ["refused"]
    assert replace(ROW, steps=slow).missed == ["stat p99", "no call"]
    assert replace(ROW, wrong=1, stuck=1).missed == ["wrong answers", "stuck"]


def test_a_run_of_one_attack_keeps_the_other_rows(tmp_path: Path) -> None:
    path = tmp_path / "soak.json"
    report = load(path)
    report.figures["calls"] = [Figure("lost", 1.0, 0.0, "calls")]
    report.add(ROW)
    save(path, report)
    again = load(path)
    again.add(replace(ROW, wrong=7))
    assert [one.wrong for one in again.stress] == [7]
    assert not again.is_met
    page = as_markdown(again)
    assert "| lost | 0 calls | 1 calls | MISSED |" in page
    assert "MISSED: wrong answers" in page
    assert "EDQUOT 3" in page
    assert Report().is_met


def test_an_attacker_counts_refusals_by_errno(tmp_path: Path) -> None:
    attacker = Attacker(tmp_path, "a", 60.0)
    assert attacker.write("file", b"data")
    assert attacker.read("file") == 4
    assert attacker.read("none") is None
    assert attacker.attempt(os.mkdir, tmp_path / "file") is None
    assert attacker.succeeded == 2
    assert attacker.refused == {"ENOENT": 1, "EEXIST": 1}
    assert not Attacker(tmp_path, "a", 0.0).is_on


def test_archives_are_far_larger_inside() -> None:
    bomb = npz_bomb(1 << 20)
    assert len(bomb) < 1 << 12
    assert np.load(io.BytesIO(bomb))["x"].nbytes == 1 << 20
    with zipfile.ZipFile(io.BytesIO(overlapping(1 << 10, 20))) as archive:
        members = archive.infolist()
        assert {member.header_offset for member in members} == {0}
        assert sum(member.file_size for member in members) > 20 << 10
        assert np.load(io.BytesIO(archive.read("a0000.npy"))).nbytes == 1 << 10


def test_names_of_attacks_fit_into_file_names() -> None:
    assert len(ALL) > 40
    assert all(name.replace("-", "").isalnum() for name in ALL)
