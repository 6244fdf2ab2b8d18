"""All calls of a mount: submitted, run, kept by id, cancelled, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import trio

from jaxfs.calls import requests
from jaxfs.calls.accounts import Accounts
from jaxfs.calls.call import Call, release
from jaxfs.calls.queue import Queue, Ticket
from jaxfs.calls.room import Room
from jaxfs.codecs.buffers import Parameter
from jaxfs.codecs.formats import FORMATS
from jaxfs.engine.interface import Engine, Engines, Input, Outcome
from jaxfs.errors import Cancelled, Invalid, JaxfsError, NameTaken, NoSpace, OverQuota
from jaxfs.options import Options
from jaxfs.ownership import Meta
from jaxfs.programs import names
from jaxfs.programs.derivations import Derivations
from jaxfs.programs.program import Program
from jaxfs.programs.stats import Histogram
from jaxfs.programs.version import Version
from jaxfs.wire.memory import Pool
from jaxfs.wire.spool import Spool


class Calls:
    """Runs calls on the engines and keeps results until they are removed.

    ``failed`` is told of each failed call that nobody may be waiting for.
    """

    def __init__(
        self,
        engines: Engines,
        derivations: Derivations,
        options: Options,
        failed: Callable[[Call, JaxfsError], None],
        nursery: trio.Nursery,
    ) -> None:
        self.accounts = Accounts(options.max_result_bytes, options.share_bytes)
        self.room = Room()
        self._engines = engines
        self._derivations = derivations
        self._options = options
        self._failed = failed
        self._nursery = nursery
        self._queues: dict[Engine, Queue] = {}
        self._calls: dict[str, Call] = {}
        self.ended = 0  # calls of all kinds, conversations' included
        self.ended_badly = 0
        self.total_times = Histogram()
        self.run_times = Histogram()  # of those that ended well

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def get(self, call_id: str) -> Call | None:
        """The call with this id, whatever its state."""
        return self._calls.get(call_id)

    def of(self, program: Program) -> list[Call]:
        """What ``calls/`` of a program lists."""
        return [call for call in self if call.program is program and call.listed]

    def queue(self, uid: int) -> Queue:
        """Where a user's runs wait for their turn."""
        engine = self._engines.of(uid)
        queue = self._queues.get(engine)
        if queue is None:
            queue = self._queues[engine] = Queue(
                engine,
                self._nursery,
                max_calls=self._options.max_calls_per_user,
                limit_s=self._options.call_timeout,
            )
        return queue

    @property
    def waiting(self) -> int:
        """Runs that no engine has yet."""
        return sum(queue.waiting for queue in self._queues.values())

    def pool(self, uid: int) -> Pool:
        """The shared memory of a user's engine."""
        return self._engines.of(uid).pool

    def spool(self, uid: int, hint_bytes: int = 0) -> Spool:
        """Room for what a user writes.  Its writes raise TooBig, OverQuota."""
        return Spool(
            self.pool(uid),
            self._options.max_write_bytes,
            hint_bytes,
            lambda nbytes: self.accounts.charge(uid, nbytes),
        )

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
        """Check the inputs and start the run.

        Raises Invalid, BrokenProgram, NoSpace, OverQuota.
        """
        self._check_open(call)
        uid = call.meta.uid
        try:
            version, inputs = await self.read(uid, call.program, spool, call.format)
        except JaxfsError as error:
            call.reject(error)
            raise
        try:
            self._check_open(call)  # much may have happened while a large text was read
        except JaxfsError:
            requests.release(inputs)
            raise
        try:
            ticket = self._admit(call, version, inputs, uid)
        except (NoSpace, OverQuota) as error:
            call.reject(error)
            raise
        call.begin(version, spool.size, ticket)

    async def read(
        self, uid: int, program: Program, spool: Spool, form: str
    ) -> tuple[Version, tuple[Input, ...]]:
        """The inputs of one request, and what runs with them: for a program whose types come with
        the call, the specialization for these types, which is made if it is not there.

        Raises Invalid, BrokenProgram, and what making the specialization raises.
        """
        served = await program.serving()
        if isinstance(served, Version):
            params: Sequence[Parameter] = served.signature.inputs
            return served, await requests.decode(spool, form, params, self.pool(uid))
        found = await requests.infer(spool, form, served.parameters)
        types = tuple(param.aval for param in found)
        version = await self._derivations.version_for(program, types)
        return version, await requests.decode(spool, form, found, self.pool(uid))

    def _admit(self, call: Call, version: Version, inputs: tuple[Input, ...], uid: int) -> Ticket:
        nbytes = version.executable.output_bytes
        try:
            self.accounts.reserve(uid, nbytes)
        except JaxfsError:
            requests.release(inputs)
            raise
        try:
            return self.run(uid, version, inputs, lambda outcome: self._ended(call, outcome))
        except JaxfsError:
            self.accounts.give_back(uid, nbytes)
            raise

    def _check_open(self, call: Call) -> None:
        if call.submitted_usec:
            raise NameTaken(f"call {call.id} was submitted already; use another id")
        if self._calls.get(call.id) is not call:
            raise Cancelled(f"call {call.id} was removed before it was submitted")

    def run(
        self,
        uid: int,
        version: Version,
        inputs: tuple[Input, ...],
        done: Callable[[Outcome], None],
    ) -> Ticket:
        """Run once; ``done`` gets the outcome from the event loop.  Takes over the inputs.

        Raises NoSpace for what cannot fit, OverQuota for a user with too many unfinished calls.
        """
        if not version.is_small:
            self.check_room(uid, version, inputs)
        return self.queue(uid).submit(uid, version.executable, inputs, done)

    def check_room(self, uid: int, version: Version, inputs: tuple[Input, ...]) -> None:
        """Raises NoSpace, and gives the inputs back, where a run cannot fit."""
        try:
            self.room.check(version, self.pool(uid))
        except NoSpace:
            requests.release(inputs)
            raise

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
        self.total_times.add(total_usec)
        if outcome.error is None:
            self.run_times.add(outcome.run_usec)
        else:
            self.ended_badly += 1
        program.stats.add(
            failed=outcome.error is not None, total_usec=total_usec, run_usec=outcome.run_usec
        )

    def remove(self, call: Call) -> None:
        """``rm results/<id>``: cancel what runs, free what is there, forget the id."""
        if self._calls.get(call.id) is call:
            del self._calls[call.id]
            if call.ticket is not None and call.version is not None:
                self.accounts.give_back(call.ticket.user.uid, call.version.executable.output_bytes)
        if not call.has_ended and call.ticket is not None:
            call.cancel(f"results/{call.id} was removed")
            self.queue(call.ticket.user.uid).stop(call.ticket)
        call.cancel(f"results/{call.id} was removed")
        call.free()

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
