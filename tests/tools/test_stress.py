"""The suite, again and again: what is kept, what is shown, and where a run goes on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tests.tools import stress
from tests.tools.stress import FileRun, State, as_markdown, files_in, main, read_junit

FAILS = FileRun(2, 1.5, {"test_b[x]": "AssertionError: 1 == 2 | 3"})
PASSES = FileRun(2, 0.5, {})


def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *outcomes: FileRun) -> list[int]:
    """Lets a file's runs end so; returns the rounds that are run from now on."""
    rounds: list[int] = []
    endings = list(outcomes)

    def run_file(file: str, number: int, timeout_s: float) -> FileRun:
        rounds.append(number)
        return endings.pop(0)

    monkeypatch.setattr(stress, "run_file", run_file)
    monkeypatch.setattr(stress, "STATE", tmp_path / "build/stress.json")
    return rounds


def test_runs_go_on_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = ran(monkeypatch, tmp_path, PASSES, FAILS, PASSES, PASSES)
    command = ["tests/tools/test_stress.py", "--rounds"]
    assert CliRunner().invoke(main, [*command, "1"]).exit_code == 0
    assert CliRunner().invoke(main, [*command, "2"]).exit_code == 1, "a test failed"
    assert CliRunner().invoke(main, [*command, "2"]).exit_code == 1, "it is remembered"
    assert rounds == [0, 1]
    assert CliRunner().invoke(main, [*command, "2", "--fresh"]).exit_code == 0
    assert rounds == [0, 1, 0, 1]


def test_another_python_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "STATE", tmp_path / "stress.json")
    kept = State({"python": "3.11.7"}, {"tests/test_a.py": [PASSES]})
    stress.STATE.write_bytes(msgspec.json.encode(kept))
    assert stress.load({"python": "3.11.7", "cores": "2"}).runs == kept.runs
    assert stress.load({"python": "3.13.0"}).runs == {}


def test_report_names_a_failed_test_with_its_error() -> None:
    page = as_markdown(State({"cores": "2"}, {"tests/test_a.py": [PASSES, FAILS, FAILS]}))
    assert "6 tests in 3 runs of 1 files, 2 failures" in page
    row = page.splitlines()[-1]
    assert row.startswith("| tests/test_a.py | 3 | 2 | 2 | 2 |")
    assert row.endswith(r"test_b[x] (2): AssertionError: 1 == 2 \| 3 |")


def test_failures_are_read_with_the_first_line_of_their_error(tmp_path: Path) -> None:
    report = tmp_path / "junit.xml"
    report.write_text(
        "<testsuites><testsuite>"
        '<testcase name="test_a"/>'
        '<testcase name="test_b"><failure message="assert 1 == 2&#10; + more">trace</failure>'
        '</testcase><testcase name="test_c"><error message="OSError: gone">trace</error></testcase>'
        "</testsuite></testsuites>"
    )
    assert read_junit(report) == (3, {"test_b": "assert 1 == 2", "test_c": "OSError: gone"})
    assert read_junit(tmp_path / "none.xml") == (0, {})


def test_a_place_without_tests_is_refused() -> None:
    found = CliRunner().invoke(main, ["tests/nowhere"])
    assert found.exit_code == 2
    assert "expected a test file, or a directory with some" in found.output
    found_files = files_in(["tests/tools", "tests/tools/test_stress.py"])
    assert found_files.count("tests/tools/test_stress.py") == 1
