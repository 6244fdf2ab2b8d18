"""The front runs before its clients, also where the kernel shares time out between sessions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from jaxfs.front.main import raise_session_priority

raise_session_priority(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("leads", [True, False])
def test_only_a_session_of_its_own_is_favoured(tmp_path: Path, leads: bool) -> None:
    """The session of a terminal keeps its niceness."""
    autogroup = tmp_path / "autogroup"
    autogroup.write_text("0")
    command = [sys.executable, "-c", SCRIPT, str(autogroup)]
    subprocess.run(command, check=True, timeout=60, start_new_session=leads)
    assert autogroup.read_text() == ("-10" if leads else "0")


def test_a_kernel_without_autogroups_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    subprocess.run(command, check=True, timeout=60, start_new_session=True)
