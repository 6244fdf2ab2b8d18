"""What is kept of a call that has ended: whose it was, and when it was where."""

from __future__ import annotations

import msgspec

from jaxfs.engine.interface import Outcome
from jaxfs.programs.version import Version

KEEP = 1000  # of the last ones, for ``trace``


class Record(msgspec.Struct, frozen=True, gc=False):
    """Times are microseconds of CLOCK_MONOTONIC, in the order of the fields; 0: it was never there.

    The request was begun to be read, submitted, sent to the engine, started there; ``run_usec``
    later its outputs were there, and at last the front had them.  ``errno`` is empty for "none".
    """

    uid: int
    program: str
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

    @classmethod
    def of(
        cls,
        uid: int,
        program: str,
        call: str,
        times_usec: tuple[int, int, int],  # begun, submitted, ended
        input_bytes: int,
        version: Version,
        outcome: Outcome,
    ) -> Record:
        """Of a call that ended so."""
        begun, submitted, ended = times_usec
        well = outcome.error is None
        return cls(
            uid,
            program,
            call,
            begun,
            submitted,
            outcome.sent_usec,
            outcome.started_usec,
            outcome.run_usec,
            ended,
            input_bytes,
            version.executable.output_bytes if well else 0,
            "" if outcome.error is None else outcome.error.errno_name,
        )

    @property
    def total_usec(self) -> int:
        """From submission to the end."""
        return self.ended_usec - self.submitted_usec
