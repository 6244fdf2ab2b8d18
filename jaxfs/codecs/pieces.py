"""How the codecs work through much data: in pieces, between which other threads get their turn.

A codec runs in a thread beside the event loop.  Python switches threads between bytecodes, so that
one call of C over 64 MB would stop everybody for seconds.  No call of a piece takes over a
millisecond: two users with a codec each then make the event loop wait two for each of its turns.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

PIECE_BYTES = 1 << 13  # of text, the slowest to read: up to 1 ms
TEXT_BYTES = 1 << 16  # of text that is searched by one expression: up to 1 ms
BLOCK_BYTES = 1 << 20  # of what is only copied, packed or inflated


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
