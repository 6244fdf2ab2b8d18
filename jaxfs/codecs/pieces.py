"""How the codecs work through much data: in pieces, between which other threads get their turn.

A codec runs in a thread beside the event loop.  Python switches threads between bytecodes, so that
one call of C over 64 MB would stop everybody for seconds.  A piece takes a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

PIECE_BYTES = 1 << 15  # of text, the slowest to read: 2 to 5 ms
BLOCK_BYTES = 1 << 20  # of what is only copied, searched, packed or inflated


def checkpoint() -> None:
    """Ends the work of a thread whose task was cancelled: its writer or reader was killed.

    Elsewhere it does nothing.

    Raises:
        trio.Cancelled: The task was cancelled.
    """
    try:
        trio.from_thread.check_cancelled()
    except RuntimeError:  # this is not a thread of trio's
        return


def blocks(data: memoryview, nbytes: int = BLOCK_BYTES) -> Iterator[memoryview]:
    """Yields ``data`` in blocks of ``nbytes``, with a checkpoint before each.

    >>> [bytes(block) for block in blocks(memoryview(b"abcde"), 2)]
    [b'ab', b'cd', b'e']
    """
    for start in range(0, len(data), nbytes):
        checkpoint()
        yield data[start : start + nbytes]
