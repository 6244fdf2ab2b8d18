"""What each user may cost: memory, disk, results, unfinished calls and the rest, in one table.

Everything that a user makes the mount keep is charged to that user before it arises, and refused
with EDQUOT where it would exceed a limit.  So one user, careless or hostile, stops at its own limit
and not at the machine's.  ``RESOURCES`` has a row for each kind of cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from jaxfs.errors import NoSpace, OverQuota


@attrs.frozen(eq=False)
class Resource:
    """One kind of cost.

    Attributes:
        name: Of its row in the file ``quota``.
        unit: What is counted, as in "user 1001 holds 5 <unit>".
        option: What changes the limit: a mount option, or another setting.
        remedy: How the user gets below the limit.
        front_bytes: What one of the unit costs the daemon itself; charged as `FRONT` too.
    """

    name: str
    unit: str
    option: str
    remedy: str
    front_bytes: int = 0


MEMORY = Resource(
    "memory", "bytes of results and uploads", "-o max_bytes_per_user", "remove results"
)
FRONT = Resource(
    "front_memory",
    "bytes of the daemon for calls, arrays, programs and open files",
    "-o max_front_bytes_per_user",
    "remove results, arrays or programs, or close files",
)
DISK = Resource(
    "disk",
    "bytes of sources and executables in the state directory",
    "-o max_disk_per_user",
    "remove programs",
)
PROGRAMS = Resource(
    "programs",
    "programs, specializations and links",
    "-o max_programs_per_user",
    "remove some from programs/",
    front_bytes=16 << 10,
)
STAGING = Resource(
    "staging_files",
    "staging files in programs/",
    "-o max_programs_per_user",
    "rename or remove them (`ls -A programs`)",
    front_bytes=1 << 10,
)
CALLS = Resource(
    "unfinished_calls",
    "unfinished calls",
    "-o max_calls_per_user",
    "wait for some, or remove their results",
)
COMPILES = Resource(
    "compiles",
    "unfinished compiles",
    "-o max_compiles_per_user",
    "wait until some have ended, or remove their programs",
)
RESULTS = Resource(
    "results",
    "calls and results",
    "-o max_results_per_user",
    "remove results that were read (`rm results/<id>`)",
    front_bytes=4 << 10,
)
ARRAYS = Resource(
    "arrays",
    "names in arrays/ and bound inputs",
    "-o max_arrays_per_user",
    "remove some from arrays/ or inputs/",
    front_bytes=3 << 10,
)
OPEN_FILES = Resource(
    "open_files",
    "open files of the mount",
    "-o max_open_files_per_user",
    "close some",
    front_bytes=2 << 10,
)
UNREAD = Resource(
    "unread_replies",
    "replies that were not read",
    "-o max_unread_per_user",
    "read the replies, or close the files",
    front_bytes=1 << 10,
)
DESCRIPTORS = Resource(
    "descriptors",
    "results and uploads of over 1 MiB, and open sources",
    "`ulimit -n` of the daemon",
    "remove results, or close files",
)
RESOURCES = (
    MEMORY,
    FRONT,
    DISK,
    PROGRAMS,
    STAGING,
    CALLS,
    COMPILES,
    RESULTS,
    ARRAYS,
    OPEN_FILES,
    UNREAD,
    DESCRIPTORS,
)
SHARED_BYTES = 1 << 20  # memory up to this size shares a descriptor with other memory


class Charge:
    """What one object costs its user; ended once, by ``refund``.

    Attributes:
        amount: How much is charged now.
    """

    __slots__ = ("_quotas", "_resource", "_uid", "amount")

    def __init__(self, quotas: Quotas, uid: int, resource: Resource, amount: int) -> None:
        self._quotas = quotas
        self._uid = uid
        self._resource = resource
        self.amount = amount

    def resize(self, amount: int) -> None:
        """Changes the amount.

        Raises:
            OverQuota: The user would exceed its limit; the amount stays as it was.
        """
        self._quotas.add(self._uid, self._resource, amount - self.amount)
        self.amount = amount

    def move(self, uid: int) -> None:
        """Charges another user from now on, past its limit too."""
        if uid == self._uid:
            return
        self._quotas.add(uid, self._resource, self.amount, force=True)
        self._quotas.add(self._uid, self._resource, -self.amount)
        self._uid = uid

    def refund(self) -> None:
        """Ends the charge; a second call does nothing."""
        self._quotas.add(self._uid, self._resource, -self.amount)
        self.amount = 0


class MemoryCharge:
    """What memory costs its user: its bytes, and a descriptor where it shares none."""

    __slots__ = ("_bytes", "_descriptor", "_quotas", "_uid")

    def __init__(self, quotas: Quotas, uid: int, nbytes: int) -> None:
        self._quotas = quotas
        self._uid = uid
        self._bytes = quotas.charge(uid, MEMORY, nbytes)
        self._descriptor: Charge | None = None

    @property
    def amount(self) -> int:
        """How many bytes are charged now."""
        return self._bytes.amount

    def resize(self, nbytes: int) -> None:
        """Changes the number of bytes.

        Raises:
            OverQuota: The user would exceed its limit; the number stays as it was.
        """
        self._bytes.resize(nbytes)

    def hold_descriptor(self) -> None:
        """Charges a descriptor too, once.

        Raises:
            OverQuota: The user would exceed its limit.
        """
        if self._descriptor is None:
            self._descriptor = self._quotas.charge(self._uid, DESCRIPTORS, 1)

    def refund(self) -> None:
        """Ends the charge; a second call does nothing."""
        self._bytes.refund()
        if self._descriptor is not None:
            self._descriptor.refund()


class Quotas:
    """Counts the use of each resource by user, and refuses what exceeds a limit.

    >>> quotas = Quotas({MEMORY: 600}, limit_bytes=1000)
    >>> held = quotas.charge(1001, MEMORY, 500)
    >>> quotas.charge(1001, MEMORY, 500)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxfs.errors.OverQuota: user 1001 holds 500 bytes of results and uploads, 500 more would ...
    >>> held.refund()
    >>> quotas.used(1001, MEMORY)
    0

    Args:
        limits: The most that one user may have of each resource; no limit for those not named.
        limit_bytes: The most bytes of all results and arrays of all users together.
        leaves_room: Whether a user may only have half of the bytes that others leave, so that there
            is always room for another user.

    Attributes:
        limits: As given.
        limit_bytes: As given.
        result_bytes: The bytes of all results and arrays now.
    """

    def __init__(
        self, limits: Mapping[Resource, int], limit_bytes: int, *, leaves_room: bool = False
    ) -> None:
        self._leaves_room = leaves_room
        self.limits = dict(limits)
        self.limit_bytes = limit_bytes
        self.result_bytes = 0
        self._used: Counter[tuple[int, Resource]] = Counter()
        self._counted: dict[Resource, Callable[[int], int]] = {}

    def used(self, uid: int, resource: Resource) -> int:
        """Returns how much a user has of a resource now."""
        count = self._counted.get(resource)
        return self._used[uid, resource] if count is None else count(uid)

    def count_by(self, resource: Resource, count: Callable[[int], int]) -> None:
        """Lets another part count, and limit, a resource: where a charge each time is too slow.

        Args:
            resource: The resource.
            count: Returns how much a user has of it now.
        """
        self._counted[resource] = count

    def rows(self, uid: int) -> list[tuple[Resource, int, int | None]]:
        """Returns each resource with a user's use, and the limit or None."""
        return [(one, self.used(uid, one), self.limits.get(one)) for one in RESOURCES]

    def charge(self, uid: int, resource: Resource, amount: int, *, force: bool = False) -> Charge:
        """Charges a user until the charge is refunded.

        Args:
            uid: The user.
            resource: What is charged.
            amount: How much of it.
            force: Whether it is charged past the limit too: it was there before a remount.

        Raises:
            OverQuota: The user would exceed its limit; nothing is charged.
        """
        self.add(uid, resource, amount, force=force)
        return Charge(self, uid, resource, amount)

    def charge_memory(self, uid: int, nbytes: int) -> MemoryCharge:
        """Charges a user for memory, and for its descriptor if it has one to itself.

        Raises:
            OverQuota: The user would exceed its limit of either; nothing is charged.
        """
        held = MemoryCharge(self, uid, nbytes)
        if nbytes > SHARED_BYTES:
            try:
                held.hold_descriptor()
            except OverQuota:
                held.refund()
                raise
        return held

    def add(self, uid: int, resource: Resource, amount: int, *, force: bool = False) -> None:
        """Adds to a user's use, or takes off where ``amount`` is negative.

        A user that holds nothing is forgotten.

        Raises:
            OverQuota: The user would exceed its limit; nothing is added.
        """
        if resource.front_bytes:
            self._add(uid, FRONT, amount * resource.front_bytes, force=force)
            try:
                self._add(uid, resource, amount, force=force)
            except OverQuota:
                self._add(uid, FRONT, -amount * resource.front_bytes)
                raise
        else:
            self._add(uid, resource, amount, force=force)

    def _add(self, uid: int, resource: Resource, amount: int, *, force: bool = False) -> None:
        key, used = (uid, resource), self._used[uid, resource] + amount
        limit = self.limits.get(resource)
        if amount > 0 and limit is not None and used > limit and not force:
            raise OverQuota(
                f"user {uid} holds {used - amount} {resource.unit}, {amount} more would exceed the "
                f"{limit} a user may have ({resource.option}); {resource.remedy}"
            )
        if used:
            self._used[key] = used
        else:
            self._used.pop(key, None)

    def reserve(self, uid: int, nbytes: int) -> Callable[[], None]:
        """Charges the memory of a result; the returned function ends the charge.

        Raises:
            NoSpace: All results together would exceed the mount's limit.
            OverQuota: The user would exceed its limit.
        """
        if self.result_bytes + nbytes > self.limit_bytes:
            raise NoSpace(
                f"the result takes {nbytes} bytes and {self.result_bytes} of "
                f"{self.limit_bytes} are in use (-o max_result_bytes); remove results"
            )
        if self._leaves_room:
            self._check_room(uid, nbytes)
        held = self.charge_memory(uid, nbytes)
        self.result_bytes += nbytes

        def give_back() -> None:
            self.result_bytes -= held.amount
            held.refund()

        return give_back

    def _check_room(self, uid: int, nbytes: int) -> None:
        """Checks that a user leaves as much to others as it takes of what others leave.

        Raises:
            OverQuota: It would not.
        """
        used = self.used(uid, MEMORY)
        others = max(0, self.result_bytes - used)
        limit = (self.limit_bytes - others) // 2
        if used + nbytes > limit:
            raise OverQuota(
                f"user {uid} holds {used} {MEMORY.unit}, {nbytes} more would exceed {limit}, "
                f"half of what others leave of {self.limit_bytes} (-o max_result_bytes, or "
                f"{MEMORY.option} for a limit of your choice); {MEMORY.remedy}"
            )
