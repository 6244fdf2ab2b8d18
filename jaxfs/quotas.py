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


@attrs.frozen
class Resource:
    """One kind of cost.

    Attributes:
        name: Of its row in the file ``quota``.
        unit: What is counted, as in "user 1001 holds 5 <unit>".
        option: What changes the limit: a mount option, or another setting.
        remedy: How the user gets below the limit.
    """

    name: str
    unit: str
    option: str
    remedy: str


MEMORY = Resource(
    "memory", "bytes of results and uploads", "-o max_bytes_per_user", "remove results"
)
RESOURCES = (MEMORY,)


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

    def refund(self) -> None:
        """Ends the charge; a second call does nothing."""
        self._quotas.add(self._uid, self._resource, -self.amount)
        self.amount = 0


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

    Attributes:
        limits: As given.
        limit_bytes: As given.
        result_bytes: The bytes of all results and arrays now.
    """

    def __init__(self, limits: Mapping[Resource, int], limit_bytes: int) -> None:
        self.limits = dict(limits)
        self.limit_bytes = limit_bytes
        self.result_bytes = 0
        self._used: Counter[tuple[int, Resource]] = Counter()

    def used(self, uid: int, resource: Resource) -> int:
        """Returns how much a user has of a resource now."""
        return self._used[uid, resource]

    def charge(self, uid: int, resource: Resource, amount: int) -> Charge:
        """Charges a user until the charge is refunded.

        Raises:
            OverQuota: The user would exceed its limit; nothing is charged.
        """
        self.add(uid, resource, amount)
        return Charge(self, uid, resource, amount)

    def add(self, uid: int, resource: Resource, amount: int) -> None:
        """Adds to a user's use, or takes off where ``amount`` is negative.

        A user that holds nothing is forgotten.

        Raises:
            OverQuota: The user would exceed its limit; nothing is added.
        """
        key, used = (uid, resource), self._used[uid, resource] + amount
        limit = self.limits.get(resource)
        if amount > 0 and limit is not None and used > limit:
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
        held = self.charge(uid, MEMORY, nbytes)
        self.result_bytes += nbytes

        def give_back() -> None:
            self.result_bytes -= held.amount
            held.refund()

        return give_back
