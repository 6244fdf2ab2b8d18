"""The calls of a mount, by id: created, submitted, looked up, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import trio

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.named import NamedArrays
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.run_inputs import release_inputs
from jaxfs.arrays.staged_upload import StagedUploads
from jaxfs.calls.admission import Admission
from jaxfs.calls.call import Call, now_usec, release_outcome
from jaxfs.calls.record import CallRecord, CallStats
from jaxfs.calls.request_reader import RequestReader
from jaxfs.calls.user_queue import call_soon
from jaxfs.codecs.formats import FORMATS
from jaxfs.engine.interface import Engines, Outcome
from jaxfs.errors import (
    AccessDenied,
    Cancelled,
    Invalid,
    JaxfsError,
    NameTaken,
    NotFound,
    from_exception,
)
from jaxfs.ipc.spool import Spool
from jaxfs.options import Options
from jaxfs.posix.credentials import Credentials, InodeAttr, owner_may_read
from jaxfs.programs import names
from jaxfs.programs.commits import Commits, Unsettled
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.programs.derived import Derivations
from jaxfs.programs.program import Program
from jaxfs.quotas import RESULTS, Quotas


class Calls:
    """The calls of a mount, and what they share.

    A call and its result are kept until ``results/<id>`` is removed.

    Args:
        engines: The engines of the mount.
        derivations: Makes specializations.
        options: The mount options.
        quotas: What each user may cost.
        log_failure: Called for each call that fails: its user may not wait for the result.
        nursery: For tasks that wait, as long as the mount exists.

    Attributes:
        nursery: As given.
        commits: The commits of calls, arrays and all other files that are written.
        admission: Passes runs to the engines.
        arrays: The named arrays, which requests refer to as they do to results.
        requests: Reads requests, also those of conversations.
        stats: Totals over all calls, also those of conversations.
    """

    def __init__(
        self,
        engines: Engines,
        derivations: Derivations,
        options: Options,
        quotas: Quotas,
        log_failure: Callable[[Call, JaxfsError], None],
        nursery: trio.Nursery,
    ) -> None:
        self.nursery = nursery
        self.commits = Commits(nursery)
        self.admission = Admission(engines, options, quotas, nursery)
        self.arrays = NamedArrays(quotas)
        self.requests = RequestReader(self.find, derivations, self.admission)
        self.stats = CallStats()
        self._log_failure = log_failure
        self._calls: dict[str, Call] = {}
        self._staged: dict[Program, StagedUploads] = {}

    def __iter__(self) -> Iterator[Call]:
        return iter(tuple(self._calls.values()))

    def get(self, call_id: str) -> Call | None:
        """Returns the call with this id, in any state, or None."""
        return self._calls.get(call_id)

    def of(self, program: Program) -> list[Call]:
        """Returns the calls that ``calls/`` of a program lists."""
        return [call for call in self if call.program is program and call.listed]

    def create(self, program: Program, filename: str, attr: InodeAttr) -> Call:
        """Returns a new call.

        Args:
            program: The program to call.
            filename: An id, with a format if the inputs come in that: ``job1``, ``job1.raw``.
            attr: Owner, mode and times.

        Raises:
            Invalid: It is no id of a call.
            NameTaken: There is a result of this id.
            OverQuota: The user has too many calls and results.
        """
        call_id, format_name = split_id(filename)
        known = self._calls.get(call_id)
        if known is not None and known.is_unreachable:
            self.remove(known)
        elif known is not None:
            raise NameTaken(f"{known.shown_path} is there already; remove it, or use another id")
        place = self.admission.quotas.charge(attr.uid, RESULTS, 1)
        call = self._calls[call_id] = Call(call_id, program, attr, format=format_name, place=place)
        call.add_link()
        return call

    def staged(self, program: Program) -> StagedUploads:
        """Returns the staging files in ``calls/`` of a program."""
        for removed in [one for one in self._staged if one.removed]:
            for file in (files := self._staged.pop(removed)):
                files.remove(file)
        return self._staged.setdefault(program, StagedUploads(self.admission.quotas))

    def to_submit(self, program: Program, filename: str, attr: InodeAttr, *, replace: bool) -> Call:
        """Returns the call that a staging file becomes: a new one, or one without inputs.

        Raises:
            Invalid: It is no id of a call.
            NameTaken: There is a result of this id.
        """
        call_id, format_name = split_id(filename)
        known = self._calls.get(call_id)
        is_open = known is not None and not known.submitted_usec
        if known is None or not is_open or not replace or self.commits.under_way(known):
            return self.create(program, filename, attr)
        if known.program is not program:
            return self.create(program, filename, attr)
        known.attr, known.format = attr, format_name
        return known

    def find(self, path: str, caller: Credentials, binder: InodeAttr | None = None) -> ArrayRef:
        """Looks up ``arrays/<name>``, ``results/<id>`` or arrays of it, as in ``results/<id>.0``.

        Args:
            path: The path in the mount.
            caller: The process that wrote the path, or calls a program that is bound to it.
            binder: The attributes of that program: its owner chose what the caller does not see.

        Raises:
            NotFound: There is no such file.
            AccessDenied: The caller, or the program's owner, may not read it.
            Invalid: It is the result of a call that was not submitted, or an empty array.
            Unsettled: It is being written; look again after that.
        """
        directory, _, name = path.partition("/")
        name, _, selector = name.partition(".")
        owner = self.arrays.get(name) if directory == "arrays" else self._calls.get(name)
        if owner is None or directory not in ("arrays", "results"):
            raise NotFound(f"there is no {path}")
        if not caller.may_read(owner.attr, owner.result_mode):
            raise AccessDenied(f"user {caller.uid} may not read {path}")
        if binder is not None and not owner_may_read(binder, owner.attr, owner.result_mode):
            raise AccessDenied(
                f"user {binder.uid}, the owner of the program, may not read {path}, so that no "
                f"call takes it unnamed; name {path} in the call, or chmod it"
            )
        self.commits.check_settled(owner)
        if isinstance(owner, NamedArray) and owner.ref is not None:
            self.commits.check_settled(owner.ref.producer)
        if not isinstance(owner, NamedArray) and not owner.submitted_usec:
            raise Invalid(f"call {name} was not submitted: there is no results/{name} yet")
        ref = owner.content()
        found = ref.select(selector) if selector else ref
        if found is None:
            raise NotFound(f"there is no array {selector!r} in {ref.path}")
        return found

    def needs_no_bytes(self, call: Call, caller: Credentials) -> bool:
        """Whether a call has all inputs that have elements before anything is written to it."""
        current = call.program.current
        if not isinstance(current, CompiledProgram):
            return False
        try:
            params = self.requests.free_params(call.program, current, caller)
        except (JaxfsError, Unsettled):
            return False
        return not any(param.aval.nbytes for param in params)

    async def submit(self, call: Call, spool: Spool, caller: Credentials) -> None:
        """Reads the inputs of a call and starts its run.

        Args:
            call: The call; its owner is charged for the run.
            spool: The inputs.
            caller: The process that wrote them; references are looked up with its rights.

        Raises:
            Invalid: The inputs do not fit the program.
            BrokenProgram: The program has no version that works.
            NameTaken: The call was submitted already.
            Cancelled: The call was removed.
            NoSpace: The run does not fit into memory, or its result into the mount's limit.
            OverQuota: The user has too much memory or too many unfinished runs.
            JaxfsError: What a reference raised.
        """
        self._check_open(call)
        call.begun_usec = now_usec()
        uid, program = call.attr.uid, call.program
        format_name = call.format if spool.size else "raw"  # no bytes are no text and no archive
        try:
            compiled, inputs = await self.requests.read(uid, caller, program, spool, format_name)
        except Exception as error:
            await self.commits.settle(call)
            self._refuse(call, error)
            raise
        await self.commits.settle(call)
        try:
            self._check_open(call)  # again: a compile or a large text takes long
        except JaxfsError:
            release_inputs(inputs)
            raise
        submitted_usec = now_usec()  # before the engine gets the run: a small one may end at once
        try:
            run = self.admission.run_for(
                call, uid, compiled, inputs, lambda outcome: self._finish(call, outcome)
            )
        except Exception as error:
            self._refuse(call, error)
            raise
        call.begin(compiled, spool.size, run, submitted_usec)

    def _refuse(self, call: Call, error: Exception) -> None:
        """Records why a call was not submitted, unless another writer has submitted it."""
        if not call.submitted_usec:
            call.reject(from_exception(error, "keeping the inputs"))

    def _check_open(self, call: Call) -> None:
        """Checks that a call can still be submitted.

        Raises:
            NameTaken: It was submitted already.
            Cancelled: It was removed.
        """
        if call.submitted_usec:
            raise NameTaken(f"call {call.id} was submitted already; use another id")
        if not call.link_count:
            raise Cancelled(f"call {call.id} was removed before it was submitted")

    def _finish(self, call: Call, outcome: Outcome) -> None:
        """Ends the call of a run that has ended, unless it was cancelled before."""
        if call.has_ended:
            release_outcome(outcome)
            return
        call.end(outcome)
        if isinstance(outcome.error, Cancelled):
            _kill_dependents(call)
        assert call.compiled is not None  # it was submitted
        self.stats.add(
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
        if outcome.error is not None:
            self._log_failure(call, outcome.error)

    def remove(self, call: Call) -> None:
        """Removes the name ``results/<id>``.

        A run that has not ended is killed, unless its outputs have another name in ``arrays/`` or
        another run waits for them.
        """
        if self._calls.get(call.id) is not call:
            return
        del self._calls[call.id]
        if call.place is not None:
            call.place.refund()
        self.arrays.views.drop(call)
        call.drop_link()

    def discard(self, call: Call) -> None:
        """Removes a call that was never complete: its writer was killed, and its id is free."""
        if call.state == "writing":
            self.remove(call)

    def unlist(self, call: Call) -> None:
        """Removes the name ``calls/<id>``.

        A call that was submitted stays under ``results/``; one that was not is removed with it.
        """
        call.listed = False
        if not call.submitted_usec:
            self.remove(call)


def _kill_dependents(call: Call) -> None:
    """Kills the runs that wait for a call which was cancelled.

    The event loop does it: the runs that wait for those are killed in turn, perhaps many.
    """
    for run in tuple(call.dependents):
        call_soon(run.kill)


def split_id(filename: str) -> tuple[str, str]:
    """Returns the id of a call and a format, as ``job1`` and ``raw`` of ``job1.raw``.

    Raises:
        Invalid: It is no such name: ids have no dot.

    >>> split_id("job1.raw")
    ('job1', 'raw')
    """
    call_id, dot, format_name = names.check(filename).partition(".")
    accepted = [row.name for row in FORMATS if row.decode is not None]
    if not call_id or (dot and format_name not in accepted):
        raise Invalid(
            f"{filename!r} is no call id: ids have no dot, take {filename.replace('.', '_')!r}; "
            f"they may end in one of {' '.join(f'.{name}' for name in accepted)}"
        )
    return call_id, format_name
