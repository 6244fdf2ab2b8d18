"""The front runs before its clients, also where the kernel shares time out between sessions."""

from __future__ import annotations

import os
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


THREADS = """
import os, subprocess, sys, threading
from jaxfs.front.main import raise_priority

def niceness():
    found.append(os.getpriority(os.PRIO_PROCESS, 0))

found = []
raise_priority()
niceness()
thread = threading.Thread(target=niceness)
thread.start()
thread.join()
sys.stdout.flush()
child = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
found.append(int(subprocess.check_output([sys.executable, "-c", child])))
print(*found)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may lower its niceness")
def test_threads_that_compute_and_engines_are_not_favoured() -> None:
    """What users wrote is parsed by threads of the front, which share its cores."""
    found = subprocess.check_output([sys.executable, "-c", THREADS], text=True, timeout=60)
    loop, thread, child = map(int, found.split())
    assert loop == -10 + os.getpriority(os.PRIO_PROCESS, 0)
    assert thread == child == 0
