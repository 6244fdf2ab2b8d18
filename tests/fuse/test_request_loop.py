"""Taking the kernel's next request without a turn of the event loop."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, trio, jaxfs.fuse
from jaxfs.fuse.request_loop import RequestWaiter

async def main():
    theirs, ours = os.pipe()
    requests, seen = RequestWaiter(), []
    async def reader():
        for _ in range(20):
            await requests.wait_readable(theirs)
            seen.append(os.read(theirs, 1))
            await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for number in range(20):  # late, so that standing still is in vain; then many at once
            if number < 10:
                await trio.sleep(0.001)
            os.write(ours, bytes([number]))
    assert seen == [bytes([number]) for number in range(20)], seen

trio.run(main)
"""


def test_every_request_is_taken_whenever_it_comes() -> None:
    """In a process of its own: pyfuse3 is there once in each."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
