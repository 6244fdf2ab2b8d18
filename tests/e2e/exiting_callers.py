"""Calls from processes that exit without close(2), while programs compile.

Each call is the first use of new input types, so that its submission waits for a compile.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

ROW = """
func.func @main(%x: tensor<?xf32>, %y: tensor<?xf32>) -> tensor<?xf32> {
  %0 = stablehlo.add %x, %y : tensor<?xf32>
  return %0 : tensor<?xf32>
}
"""
NUMBERS = itertools.count(1)
EXIT_S = 60
EACH = 10  # calls of one set of sizes


def call_from_exiting_processes(mount: Path, count: int) -> list[str]:
    """Makes calls, and returns the ids of those that are lost or wrong.

    Args:
        mount: The mount point.
        count: How many calls.
    """
    number = next(NUMBERS)
    (mount / f"programs/sum{number}.mlir").write_text(ROW)
    calls = mount / f"programs/sum{number}/calls"
    ids = [f"exits-{number}-{one}" for one in range(count)]
    for first in range(0, count, EACH):
        batch = [(one, first // EACH + 1) for one in ids[first : first + EACH]]
        writers = [_write(calls / one, size) for one, size in batch]
        assert all(writer.wait(EXIT_S) == 0 for writer in writers)
    lost = [one for at, one in enumerate(ids) if not _is_right(mount, one, at // EACH + 1)]
    (mount / f"programs/sum{number}.mlir").unlink()
    return lost


def _write(path: Path, size: int) -> subprocess.Popen[bytes]:
    """Starts a shell that writes a call and exits."""
    numbers = f"[{', '.join(['1.0'] * size)}]"
    with open(path, "wb") as out:
        return subprocess.Popen(["sh", "-c", f'echo "{numbers} {numbers}"'], stdout=out)


def _is_right(mount: Path, call: str, size: int) -> bool:
    """Whether a call has its result, which is removed."""
    result = mount / f"results/{call}.json"
    try:
        found = result.read_text()
        result.with_suffix("").unlink()
    except OSError:
        return False
    return found == f"[{', '.join(['2.0'] * size)}]\n"
