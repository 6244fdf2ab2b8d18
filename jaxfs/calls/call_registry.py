"""All calls of a mount: submitted, run, kept by id, cancelled, removed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import trio

from jaxfs.arrays.bindings import bound_inputs, decode_inputs, infer_params, parameter_names
from jaxfs.arrays.inputs import Request
from jaxfs.arrays.named import NamedArray, NamedArrays
from jaxfs.arrays.producers import ArrayRef
from jaxfs.arrays.quotas import Quotas
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.call import Call, now_usec, release
from jaxfs.calls.memory_check import MemoryCheck
from jaxfs.calls.record import KEEP, CallRecord
from jaxfs.calls.scheduler import Run, Scheduler, soon
from jaxfs.codecs.formats import FORMATS
from jaxfs.engine.interface import Engine, Engines, Outcome
from jaxfs.errors import (
    AccessDenied,
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    NoSpace,
    NotFound,
    OverQuota,
)
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spool import Spool
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials, InodeAttr
from jaxfs.programs import names
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import Program
from jaxfs.programs.stats import Histogram
from jaxfs.types.buffers import Parameter


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
        self.quotas = Quotas(options.max_result_bytes, options.share_bytes)
        self.arrays = NamedArrays(self.quotas)
        self.memory_check = MemoryCheck()
        self._engines = engines
        self._derivations = derivations
        self._options = options
        self._failed = failed
        self._nursery = nursery
        self._schedulers: dict[Engine, Scheduler] = {}
        self._calls: dict[str, Call] = {}
        self.ended = 0  # calls of all kinds, conversations' included
        self.ended_badly = 0
        self.total_times = Histogram()
        self.run_times = Histogram()  # of those that ended well
        self.recent: deque[CallRecord] = deque(maxlen=KEEP)  # nobody has looked at yet

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def get(self, call_id: str) -> Call | None:
        """The call with this id, whatever its state."""
        return self._calls.get(call_id)

    def of(self, program: Program) -> list[Call]:
        """What ``calls/`` of a program lists."""
        return [call for call in self if call.program is program and call.listed]

    def scheduler(self, uid: int) -> Scheduler:
        """Where a user's runs wait for their turn."""
        engine = self._engines.of(uid)
        queue = self._schedulers.get(engine)
        if queue is None:
            queue = self._schedulers[engine] = Scheduler(
                engine,
                self._nursery,
                max_calls=self._options.max_calls_per_user,
                limit_s=self._options.call_timeout,
            )
        return queue

    @property
    def waiting(self) -> int:
        """Runs that no engine has yet."""
        return sum(queue.waiting for queue in self._schedulers.values())

    def pool(self, uid: int) -> Pool:
        """The shared memory of a user's engine."""
        return self._engines.of(uid).pool

    def spool(self, uid: int, hint_bytes: int = 0) -> Spool:
        """Room for what a user writes.  Its writes raise TooBig, OverQuota."""
        return Spool(
            self.pool(uid),
            self._options.max_write_bytes,
            hint_bytes,
            lambda nbytes: self.quotas.charge(uid, nbytes),
        )

    def create(self, program: Program, filename: str, meta: InodeAttr) -> Call:
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
        call.add_link()
        return call

    def find(self, path: str, caller: Credentials) -> ArrayRef:
        """What ``arrays/<name>``, ``results/<id>`` or a part, ``results/<id>.0``, stands for.

        Raises NotFound, AccessDenied, and Invalid for a call that was not submitted.
        """
        place, _, name = path.partition("/")
        name, _, word = name.partition(".")
        owner = self.arrays.get(name) if place == "arrays" else self._calls.get(name)
        if owner is None or place not in ("arrays", "results"):
            raise NotFound(f"there is no {path}")
        if not caller.may_read(owner.attr, owner.result_mode):
            raise AccessDenied(f"user {caller.uid} may not read {path}")
        part = owner.content() if isinstance(owner, NamedArray) else _content(owner)
        found = part.select(word) if word else part
        if found is None:
            raise NotFound(f"there is no array {word!r} in {part.path}")
        return found

    async def submit(self, call: Call, spool: Spool, caller: Credentials) -> None:
        """Check the inputs and start the run.  References in them are looked up with the rights of
        ``caller``, who writes; the call is its owner's.

        Raises Invalid, BrokenProgram, NoSpace, OverQuota, and what a reference's source says.
        """
        self._check_open(call)
        call.begun_usec = now_usec()
        uid = call.attr.uid
        try:
            version, inputs = await self.read(uid, caller, call.program, spool, call.format)
        except JaxfsError as error:
            call.reject(error)
            raise
        try:
            self._check_open(call)  # much may have happened while a large text was read
        except JaxfsError:
            release_inputs(inputs)
            raise
        submitted_usec = now_usec()  # before the engine has it: a small run may end at once
        try:
            ticket = self._admit(call, version, inputs, uid)
        except (NoSpace, OverQuota) as error:
            call.reject(error)
            raise
        call.begin(version, spool.size, ticket, submitted_usec)

    async def read(
        self, uid: int, caller: Credentials, program: Program, spool: Spool, form: str
    ) -> tuple[CompiledProgram, tuple[RunInput, ...]]:
        """The inputs of one request, bound ones included, and what runs with them: for a program
        whose types come with the call, the specialization for these types, which is made if it is
        not there.

        Raises Invalid, BrokenProgram, and what making the specialization raises.
        """
        served = await program.wait_compiled()

        def find(path: str) -> ArrayRef:
            return self.find(path, caller)

        request = await Request.of(spool, form, find)
        fixed = bound_inputs(program, parameter_names(served), find) if program.inputs else {}
        if isinstance(served, CompiledProgram):
            return served, await decode_inputs(
                request, served.signature.inputs, fixed, self.pool(uid)
            )
        params = await infer_params(request, served, fixed)
        types = tuple(param.aval for param in params)
        # first, so that nothing is compiled for numbers that are refused
        inputs = await decode_inputs(request, params, fixed, self.pool(uid))
        try:
            return await self._derivations.version_for(program, types), inputs
        except BaseException:
            release_inputs(inputs)
            raise

    def open_params(
        self, program: Program, version: CompiledProgram, caller: Credentials
    ) -> Sequence[Parameter]:
        """The parameters that a request has to bring: those that are not bound."""
        params = version.signature.inputs
        if not program.inputs:
            return params
        fixed = bound_inputs(
            program, parameter_names(version), lambda path: self.find(path, caller)
        )
        return [param for number, param in enumerate(params) if number not in fixed]

    def _admit(
        self, call: Call, version: CompiledProgram, inputs: tuple[RunInput, ...], uid: int
    ) -> Run:
        nbytes = version.executable.output_bytes
        try:
            self.quotas.reserve(uid, nbytes)
        except JaxfsError:
            release_inputs(inputs)
            raise
        try:
            ticket = self.run(
                uid,
                version,
                inputs,
                lambda outcome: self._ended(call, outcome),
                shared_as=call.number,
            )
        except JaxfsError:
            self.quotas.give_back(uid, nbytes)
            raise
        call.refund = lambda: self._free(uid, nbytes, call.number)
        return ticket

    def _free(self, uid: int, nbytes: int, source: int) -> None:
        """Nobody needs a result any more."""
        self.quotas.give_back(uid, nbytes)
        self.pool(uid).forget(source)

    def _check_open(self, call: Call) -> None:
        if call.submitted_usec:
            raise NameTaken(f"call {call.id} was submitted already; use another id")
        if self._calls.get(call.id) is not call:
            raise Cancelled(f"call {call.id} was removed before it was submitted")

    def run(
        self,
        uid: int,
        version: CompiledProgram,
        inputs: tuple[RunInput, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> Run:
        """Run once; ``done`` gets the outcome from the event loop.  Takes over the inputs.
        ``shared_as`` lets other runs take the outputs before this one has ended.

        Raises NoSpace for what cannot fit, OverQuota for a user with too many unfinished calls.
        """
        if not version.is_small:
            self.check_memory(uid, version, inputs)
        queue = self.scheduler(uid)
        return queue.submit(uid, version.executable, inputs, done, shared_as=shared_as)

    def check_memory(
        self, uid: int, version: CompiledProgram, inputs: tuple[RunInput, ...]
    ) -> None:
        """Raises NoSpace, and gives the inputs back, where a run cannot fit."""
        try:
            self.memory_check.check(version, self.pool(uid))
        except NoSpace:
            release_inputs(inputs)
            raise

    def _ended(self, call: Call, outcome: Outcome) -> None:
        if call.has_ended:
            release(outcome)
            return
        call.end(outcome)
        if isinstance(outcome.error, Cancelled):
            _stop_dependents(call)
        self._count_call(call, outcome)
        if outcome.error is not None:
            self._failed(call, outcome.error)

    def _count_call(self, call: Call, outcome: Outcome) -> None:
        assert call.compiled is not None  # it was submitted
        self.count(
            CallRecord(
                call.attr.uid,
                call.program,
                call.id,
                call.begun_usec,
                call.submitted_usec,
                outcome.sent_usec,
                outcome.started_usec,
                outcome.run_usec,
                call.ended_usec,
                call.input_bytes,
                call.compiled.executable.output_bytes,
                outcome.error.errno_name if outcome.error else "",
            )
        )

    def count(self, record: CallRecord) -> None:
        """Keep a program's statistics, and the mount's."""
        self.recent.append(record)
        failed, run_usec = bool(record.errno), record.run_usec
        total_usec = record.ended_usec - record.submitted_usec
        self.ended += 1
        self.total_times.add(total_usec)
        if failed:
            self.ended_badly += 1
        else:
            self.run_times.add(run_usec)
        record.program.stats.add(failed=failed, total_usec=total_usec, run_usec=run_usec)

    def remove(self, call: Call) -> None:
        """``rm results/<id>``: cancel what runs and what waits for it, free what is there, forget
        the id.  What has another name, in ``arrays/``, only loses this one."""
        if self._calls.get(call.id) is not call:
            return
        self._forget(call)
        if call.link_count == 1 and not call.has_ended:
            call.cancel(f"results/{call.id} was removed")
            if call.run is not None:
                call.run.kill()
            _stop_dependents(call)
        call.drop_link()

    def give_away(self, call: Call) -> None:
        """The result has another name now: ``mv results/<id> arrays/<name>``."""
        if self._calls.get(call.id) is call:
            self._forget(call)
            call.drop_link()

    def _forget(self, call: Call) -> None:
        del self._calls[call.id]
        self.arrays.views.drop(call)

    def unlist(self, call: Call) -> None:
        """``rm calls/<id>``: only the name goes; a call that was never submitted goes whole."""
        call.listed = False
        if not call.submitted_usec:
            self.remove(call)


def _content(call: Call) -> ArrayRef:
    if call.is_rejected or not call.submitted_usec:
        raise Invalid(f"call {call.id} was not submitted: there is no results/{call.id} yet")
    return call.content()


def _stop_dependents(call: Call) -> None:
    """A cancelled call cancels those that wait for it."""
    for ticket in tuple(call.dependents):
        soon(ticket.kill)


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
