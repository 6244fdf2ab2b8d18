"""All calls of a mount: submitted, run, kept by id, cancelled, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio

from jaxfs.calls import requests
from jaxfs.calls.call import Call, release
from jaxfs.codecs.formats import FORMATS
from jaxfs.engine.interface import Engine, Input, Outcome
from jaxfs.errors import Cancelled, Invalid, JaxfsError, NameTaken, NoSpace
from jaxfs.ownership import Meta
from jaxfs.programs import names
from jaxfs.programs.program import Program
from jaxfs.programs.version import Version
from jaxfs.wire.memory import Pool
from jaxfs.wire.spool import Spool

STOP_GRACE_S = 0.5  # most runs end by themselves sooner than an engine starts


class Calls:
    """Runs calls on the engine and keeps results until they are removed.

    ``limit_bytes`` bounds the memory of results; over it, submission raises NoSpace.
    """

    def __init__(
        self,
        engine: Engine,
        pool: Pool,
        limit_bytes: int,
        max_write_bytes: int,
        failed: Callable[[Call, JaxfsError], None],
        nursery: trio.Nursery,
    ) -> None:
        self._nursery = nursery
        self.pool = pool
        self.limit_bytes = limit_bytes
        self.result_bytes = 0
        self._engine = engine
        self._max_write_bytes = max_write_bytes
        self._failed = failed
        self._calls: dict[str, Call] = {}
        self.ended = 0  # calls of all kinds, conversations' included
        self.ended_badly = 0

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def get(self, call_id: str) -> Call | None:
        """The call with this id, whatever its state."""
        return self._calls.get(call_id)

    def of(self, program: Program) -> list[Call]:
        """What ``calls/`` of a program lists."""
        return [call for call in self if call.program is program and call.listed]

    def spool(self, hint_bytes: int = 0) -> Spool:
        """Room for what a user writes."""
        return Spool(self.pool, self._max_write_bytes, hint_bytes)

    def create(self, program: Program, filename: str, meta: Meta) -> Call:
        """``calls/<id>[.<format>]``.  Raises Invalid, NameTaken."""
        call_id, form = split_id(filename)
        taken = self._calls.get(call_id)
        if taken is not None and taken.is_unreachable:
            self.remove(taken)
        elif taken is not None:
            raise NameTaken(
                f"results/{call_id} is there already; remove it, or use another id for the call"
            )
        call = self._calls[call_id] = Call(call_id, program, meta, format=form)
        return call

    async def submit(self, call: Call, spool: Spool) -> None:
        """Check the inputs and start the run.  Raises Invalid, BrokenProgram, NoSpace."""
        self._check_open(call)
        try:
            version = await call.program.serving()
            inputs = await requests.decode(spool, call.format, version.signature, self.pool)
        except JaxfsError as error:
            call.reject(error)
            raise
        try:
            self._check_open(call)  # much may have happened while a large text was read
        except JaxfsError:
            requests.release(inputs)
            raise
        try:
            self._reserve(version)
        except NoSpace as error:
            requests.release(inputs)
            call.reject(error)
            raise
        call.begin(version, spool.size)
        call.number = self.run(version, inputs, lambda outcome: self._ended(call, outcome))

    def _check_open(self, call: Call) -> None:
        if call.submitted_usec:
            raise NameTaken(f"call {call.id} was submitted already; use another id")
        if self._calls.get(call.id) is not call:
            raise Cancelled(f"call {call.id} was removed before it was submitted")

    def run(
        self, version: Version, inputs: tuple[Input, ...], done: Callable[[Outcome], None]
    ) -> int:
        """Run once; ``done`` gets the outcome from the event loop.  Takes over the inputs."""
        number = self._engine.submit(version.executable, inputs, done)
        requests.release(inputs)
        return number

    def poll(self, wait_s: float = 0.0) -> None:
        """Take what the engine has answered already, or answers within so short a time."""
        self._engine.poll(wait_s)

    def _reserve(self, version: Version) -> None:
        nbytes = version.executable.output_bytes
        if self.result_bytes + nbytes > self.limit_bytes:
            raise NoSpace(
                f"the result takes {nbytes} bytes and {self.result_bytes} of "
                f"{self.limit_bytes} are in use (-o max_result_bytes); remove results"
            )
        self.result_bytes += nbytes

    def _unreserve(self, call: Call) -> None:
        if call.submitted_usec and call.version is not None:
            self.result_bytes -= call.version.executable.output_bytes

    def _ended(self, call: Call, outcome: Outcome) -> None:
        if call.has_ended:
            release(outcome)
            return
        call.end(outcome)
        self.count(call.program, outcome, call.total_usec)
        if outcome.error is not None:
            self._failed(call, outcome.error)

    def count(self, program: Program, outcome: Outcome, total_usec: int) -> None:
        """Keep a program's statistics, and the mount's."""
        self.ended += 1
        self.ended_badly += outcome.error is not None
        program.stats.add(
            failed=outcome.error is not None, total_usec=total_usec, run_usec=outcome.run_usec
        )

    def remove(self, call: Call) -> None:
        """``rm results/<id>``: cancel what runs, free what is there, forget the id."""
        if self._calls.get(call.id) is call:
            del self._calls[call.id]
            self._unreserve(call)
        if not call.has_ended and call.submitted_usec:
            self._engine.cancel(call.number)
            self._nursery.start_soon(self._stop, call.number)
        call.cancel(f"results/{call.id} was removed")
        call.free()

    async def _stop(self, number: int) -> None:
        """End a cancelled run that goes on, with its engine; the others' runs start again there."""
        await trio.sleep(STOP_GRACE_S)
        self._engine.cancel(number, kill=True)

    def unlist(self, call: Call) -> None:
        """``rm calls/<id>``: only the name goes; a call that was never submitted goes whole."""
        call.listed = False
        if not call.submitted_usec:
            self.remove(call)


def split_id(filename: str) -> tuple[str, str]:
    """``job1.raw`` -> (``job1``, ``raw``).  Raises Invalid: ids have no dot."""
    call_id, dot, form = names.check(filename).partition(".")
    accepted = [row.name for row in FORMATS if row.decode is not None]
    if not call_id or (dot and form not in accepted):
        raise Invalid(
            f"{filename!r} is no call id; ids have no dot, and may end in one of "
            + " ".join(f".{name}" for name in accepted)
        )
    return call_id, form
