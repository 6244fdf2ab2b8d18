"""Who holds how much memory: of results, and of what they are writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from jaxfs.errors import NoSpace, OverQuota


class Quotas:
    """Counts bytes by user.

    ``limit_bytes`` is for the results of all together, ``share_bytes`` for all memory of each.
    """

    def __init__(self, limit_bytes: int, share_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.share_bytes = share_bytes
        self.result_bytes = 0
        self._held: Counter[int] = Counter()

    def held_by(self, uid: int) -> int:
        """Bytes of a user's results and uploads."""
        return self._held[uid]

    def reserve(self, uid: int, nbytes: int) -> None:
        """Take ``nbytes`` for a result.  Raises NoSpace, or OverQuota over the user's share."""
        if self.result_bytes + nbytes > self.limit_bytes:
            raise NoSpace(
                f"the result takes {nbytes} bytes and {self.result_bytes} of "
                f"{self.limit_bytes} are in use (-o max_result_bytes); remove results"
            )
        self._take(uid, nbytes, "the result takes")
        self.result_bytes += nbytes

    def give_back(self, uid: int, nbytes: int) -> None:
        """What ``reserve`` took."""
        self.result_bytes -= nbytes
        self._put_back(uid, nbytes)

    def charge(self, uid: int, nbytes: int) -> Callable[[], None]:
        """Take ``nbytes`` for something written; what is returned gives them back.

        Raises OverQuota.
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
        self._held[uid] -= nbytes
        if not self._held[uid]:
            del self._held[uid]
