"""What is kept of a call that has ended: whose it was, and when it was where."""

from __future__ import annotations

import msgspec

from jaxfs.programs.program import Program

KEEP = 1000  # of the last ones, for ``trace``


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """Made at each call, so it is only kept here; ``timeline`` makes sense of it.

    Times are microseconds of CLOCK_MONOTONIC, in the order of the fields; 0: it was never there.
    The request was begun to be read, submitted, sent to the engine, started there; ``run_usec``
    later its outputs were there, and at last the front had them.  ``output_bytes`` are those of a
    call that ended well; ``errno`` is empty for that.
    """

    uid: int
    program: Program
    call: str  # empty in a conversation
    begun_usec: int
    submitted_usec: int
    sent_usec: int
    started_usec: int
    run_usec: int
    ended_usec: int
    input_bytes: int
    output_bytes: int
    errno: str
