"""What is recorded of calls that have ended: timestamps of the last ones, and totals."""

from __future__ import annotations

from collections import deque

import msgspec

from jaxfs.programs.program import Program
from jaxfs.programs.stats import Histogram

KEEP = 1000  # records, for ``trace``


class CallRecord(msgspec.Struct, frozen=True, gc=False):
    """One call that has ended.

    One is made at each call, so that it holds plain figures; ``monitoring.perfetto`` interprets
    them.  Times are microseconds of CLOCK_MONOTONIC, 0 for a step that was not reached.

    Attributes:
        uid: The user.
        program: The program.
        call: The call's id; empty in a conversation.
        begun_usec: When its request was complete and was begun to be read.
        submitted_usec: When its run was passed to the scheduler.
        sent_usec: When its run was sent to the engine.
        started_usec: When the engine started it.
        run_usec: How long the engine ran it.
        ended_usec: When the front had the outputs.
        input_bytes: The length of the request.
        output_bytes: The length of the outputs of a run that ends well.
        errno: The name of its error; empty for a call that ended well.
    """

    uid: int
    program: Program
    call: str
    begun_usec: int
    submitted_usec: int
    sent_usec: int
    started_usec: int
    run_usec: int
    ended_usec: int
    input_bytes: int
    output_bytes: int
    errno: str


class CallStats:
    """Totals over the calls of a mount, those of conversations included.

    Attributes:
        ended: How many calls ended.
        failed: How many of them failed.
        total_times: Their times from submission to the end.
        run_times: The times in the engine of those that ended well.
        recent: The last records.
    """

    def __init__(self) -> None:
        self.ended = 0
        self.failed = 0
        self.total_times = Histogram()
        self.run_times = Histogram()
        self.recent: deque[CallRecord] = deque(maxlen=KEEP)

    def add(self, record: CallRecord) -> None:
        """Counts a call, here and in the statistics of its program."""
        self.recent.append(record)
        failed, run_usec = bool(record.errno), record.run_usec
        total_usec = record.ended_usec - record.submitted_usec
        self.ended += 1
        self.total_times.add(total_usec)
        if failed:
            self.failed += 1
        else:
            self.run_times.add(run_usec)
        record.program.stats.add(failed=failed, total_usec=total_usec, run_usec=run_usec)
