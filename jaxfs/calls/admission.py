"""Admission: what a run passes before an engine gets it, and the memory of its inputs and outputs.

A run is refused where its result exceeds a quota, where it cannot fit into memory, or where its
user has too many unfinished runs.  Otherwise it is passed to the scheduler of the user's engine.
"""

from __future__ import annotations

import resource
from collections.abc import Callable

import trio

from jaxfs.arrays.long_texts import TextMemory
from jaxfs.arrays.producers import Producer
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.calls.memory_check import MemoryCheck
from jaxfs.calls.scheduler import Scheduler
from jaxfs.calls.user_queue import Run, RunLimits
from jaxfs.engine.interface import Engine, Engines, Outcome
from jaxfs.errors import JaxfsError, NoSpace
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spool import Spool
from jaxfs.options import Options
from jaxfs.programs.compiled import CompiledProgram
from jaxfs.quotas import (
    ARRAYS,
    CALLS,
    COMPILES,
    DESCRIPTORS,
    DISK,
    FRONT,
    MEMORY,
    OPEN_FILES,
    PROGRAMS,
    RESULTS,
    STAGING,
    UNREAD,
    Quotas,
)

MAX_MAPPINGS = 65_530  # of a process, by the default of the sysctl vm.max_map_count
DESCRIPTORS_KEPT = 64  # for what is not a user's
USERS_AT_ONCE = 4  # of whom each may take all that it is allowed of what the process has


def quotas_of(options: Options) -> Quotas:
    """Returns what each user may cost, by the options of a mount and the limits of the process."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    shared = min(descriptors, MAX_MAPPINGS) - DESCRIPTORS_KEPT
    return Quotas(
        {
            MEMORY: options.share_bytes,
            FRONT: options.max_front_bytes_per_user,
            DISK: options.max_disk_per_user,
            PROGRAMS: options.max_programs_per_user,
            STAGING: options.max_programs_per_user,
            CALLS: options.max_calls_per_user,
            COMPILES: options.max_compiles_per_user,
            RESULTS: options.max_results_per_user,
            ARRAYS: options.max_arrays_per_user,
            OPEN_FILES: options.max_open_files_per_user,
            UNREAD: options.max_unread_per_user,
            DESCRIPTORS: max(1, shared // USERS_AT_ONCE),
        },
        options.max_result_bytes,
        leaves_room=options.allow_other and options.max_bytes_per_user is None,
    )


class Admission:
    """Admits runs to the engines of a mount.

    Attributes:
        quotas: What each user may cost.
        memory_check: Refuses runs that cannot fit into memory.
    """

    def __init__(
        self, engines: Engines, options: Options, quotas: Quotas, nursery: trio.Nursery
    ) -> None:
        self.quotas = quotas
        quotas.count_by(CALLS, self._unfinished)
        self.memory_check = MemoryCheck()
        self._engines = engines
        self._options = options
        self._nursery = nursery
        self._schedulers: dict[Engine, Scheduler] = {}

    def scheduler(self, uid: int) -> Scheduler:
        """Returns the scheduler of a user's engine."""
        engine = self._engines.of(uid)
        scheduler = self._schedulers.get(engine)
        if scheduler is None:
            scheduler = self._schedulers[engine] = Scheduler(
                engine,
                self._nursery,
                self._engines,
                max_calls=self._options.max_calls_per_user,
                limits=RunLimits(self._options.call_timeout, self._options.compile_timeout),
                share_after_s=self._options.share_after,
            )
        return scheduler

    def _unfinished(self, uid: int) -> int:
        """Returns how many runs of a user have not ended."""
        return sum(scheduler.unfinished(uid) for scheduler in self._schedulers.values())

    @property
    def waiting(self) -> int:
        """How many runs wait for a place in an engine."""
        return sum(scheduler.waiting for scheduler in self._schedulers.values())

    @property
    def separated(self) -> int:
        """How many users have an engine apart from that of the others."""
        return sum(scheduler.separated for scheduler in self._schedulers.values())

    def pool(self, uid: int) -> Pool:
        """Returns the shared memory of a user's engine."""
        return self._engines.of(uid).pool

    def spool(self, uid: int, hint_bytes: int = 0) -> Spool:
        """Returns a spool for what a user writes, charged to the user.

        Its writes raise TooBig past the mount's limit, OverQuota past the user's share.

        Args:
            uid: The user.
            hint_bytes: How much is expected.
        """
        return Spool(
            self.pool(uid),
            self._options.max_write_bytes,
            hint_bytes,
            lambda nbytes: self.quotas.charge_memory(uid, nbytes),
        )

    def charge_memory(self, uid: int) -> Callable[[int], Callable[[], None]]:
        """Returns what charges a user for bytes of memory, and returns the refund."""
        return lambda nbytes: self.quotas.charge_memory(uid, nbytes).refund

    def text_memory(self, uid: int) -> TextMemory:
        """Returns memory for the long texts that a user reads, charged to the user."""
        return TextMemory(uid, self.pool(uid), self.charge_memory(uid))

    def check_memory(
        self, uid: int, compiled: CompiledProgram, inputs: tuple[RunInput, ...]
    ) -> None:
        """Refuses a run that cannot fit into memory.

        Raises:
            NoSpace: It cannot; the inputs are released.
        """
        try:
            self.memory_check.check(compiled, self.pool(uid))
        except NoSpace:
            release_inputs(inputs)
            raise

    def run(
        self,
        uid: int,
        compiled: CompiledProgram,
        inputs: tuple[RunInput, ...],
        done: Callable[[Outcome], None],
        *,
        shared_as: int = 0,
    ) -> Run:
        """Submits a run.

        Args:
            uid: The user it runs for.
            compiled: The program.
            inputs: The inputs, retained; released here, also where this raises.
            done: Called once with the outcome, from the event loop, not before this returns.
            shared_as: As of ``Engine.submit``.

        Raises:
            NoSpace: The run cannot fit into memory.
            OverQuota: The user has too many unfinished runs.
        """
        if not compiled.is_small:
            self.check_memory(uid, compiled, inputs)
        scheduler = self.scheduler(uid)
        return scheduler.submit(uid, compiled.executable, inputs, done, shared_as=shared_as)

    def run_for(
        self,
        producer: Producer,
        uid: int,
        compiled: CompiledProgram,
        inputs: tuple[RunInput, ...],
        done: Callable[[Outcome], None],
    ) -> Run:
        """Submits the run of a producer, and charges its outputs until the producer is dropped.

        Other runs may take the outputs before it has ended.

        Raises:
            NoSpace: The run does not fit into memory, or its outputs into the mount's limit.
            OverQuota: The user has too many unfinished runs, or would exceed the share of one user.
        """
        nbytes = compiled.executable.output_bytes
        try:
            give_back = self.quotas.reserve(uid, nbytes)
        except JaxfsError:
            release_inputs(inputs)
            raise
        try:
            held = self.quotas.charge(uid, MEMORY, _inline_bytes(inputs))
        except JaxfsError:
            give_back()
            release_inputs(inputs)
            raise

        def ended(outcome: Outcome) -> None:
            held.refund()
            done(outcome)

        try:
            run = self.run(uid, compiled, inputs, ended, shared_as=producer.number)
        except JaxfsError:
            held.refund()
            give_back()
            raise

        def refund() -> None:
            give_back()
            self.pool(uid).forget(producer.number)

        producer.refund = refund
        return run


def _inline_bytes(inputs: tuple[RunInput, ...]) -> int:
    """Returns the bytes of the inputs that are in this process, and charged to no spool."""
    return sum(len(value) for value in inputs if isinstance(value, bytes))
