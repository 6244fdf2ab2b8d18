"""How much memory each user holds: of results, of arrays, and of what is being written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from jaxfs.errors import NoSpace, OverQuota


class Quotas:
    """Counts bytes by user and refuses what exceeds a limit.

    >>> quotas = Quotas(limit_bytes=1000, share_bytes=600)
    >>> quotas.reserve(1001, 500)
    >>> quotas.reserve(1001, 500)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxfs.errors.OverQuota: the result takes 500 bytes and user 1001 holds 500 of the 600 ...

    Attributes:
        limit_bytes: The most bytes of all results and arrays together.
        share_bytes: The most bytes of one user, unfinished uploads included.
        result_bytes: The bytes of all results and arrays now.
    """

    def __init__(self, limit_bytes: int, share_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.share_bytes = share_bytes
        self.result_bytes = 0
        self._held: Counter[int] = Counter()  # by user

    def reserve(self, uid: int, nbytes: int) -> None:
        """Charges a result to a user, until ``give_back``.

        Raises:
            NoSpace: All results together would exceed the mount's limit.
            OverQuota: The user would exceed the share of one user.
        """
        if self.result_bytes + nbytes > self.limit_bytes:
            raise NoSpace(
                f"the result takes {nbytes} bytes and {self.result_bytes} of "
                f"{self.limit_bytes} are in use (-o max_result_bytes); remove results"
            )
        self._take(uid, nbytes, "the result takes")
        self.result_bytes += nbytes

    def give_back(self, uid: int, nbytes: int) -> None:
        """Ends the charge of a result.

        Args:
            uid: The user it was charged to.
            nbytes: Its size, as it was reserved.
        """
        self.result_bytes -= nbytes
        self._put_back(uid, nbytes)

    def charge(self, uid: int, nbytes: int) -> Callable[[], None]:
        """Charges something that is being written; the returned function ends the charge.

        Raises:
            OverQuota: The user would exceed the share of one user.
        """
        self._take(uid, nbytes, "what is being written takes")
        return lambda: self._put_back(uid, nbytes)

    def _take(self, uid: int, nbytes: int, what: str) -> None:
        if self._held[uid] + nbytes > self.share_bytes:
            raise OverQuota(
                f"{what} {nbytes} bytes and user {uid} holds {self._held[uid]} of the "
                f"{self.share_bytes} a user may have (-o max_bytes_per_user); remove results"
            )
        self._held[uid] += nbytes

    def _put_back(self, uid: int, nbytes: int) -> None:
        """Reduces what a user holds; a user that holds nothing is forgotten."""
        self._held[uid] -= nbytes
        if not self._held[uid]:
            del self._held[uid]
