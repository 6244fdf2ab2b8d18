"""Threads of a user are counted while processes come and go."""

from __future__ import annotations

import os
from pathlib import Path

from jaxfs.compiler.sandbox.identity import count_threads


def test_process_that_ends_while_it_is_read_does_not_count(tmp_path: Path) -> None:
    for pid, uid, threads in ((7, 1001, 3), (8, 1002, 5)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(f"Uid:\t{uid}\t0\nThreads:\t{threads}\n")
    (tmp_path / "9").mkdir()  # has ended before its status was opened
    (tmp_path / "10" / "status").mkdir(parents=True)  # opens, but read(2) fails
    proc = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert count_threads(1001, proc) == 3
    finally:
        os.close(proc)
