"""Which users' pickled functions are accepted: unpickling runs the author's code."""

from __future__ import annotations

from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.errors import AccessDenied


class PicklePolicy:
    """The option ``-o pickle=``.

    ``owner`` accepts pickles of the mounting user, ``all`` those of every user, ``off`` none.
    Without a complete sandbox none are accepted, unless the rule is ``unsafe``: then those of the
    mounting user are.
    """

    def __init__(self, rule: str, owner_uid: int, compiler: Compiler) -> None:
        self._rule = rule
        self._owner_uid = owner_uid
        self._compiler = compiler

    async def check(self, uid: int) -> None:
        """Checks that a user's pickles are accepted.

        Raises:
            AccessDenied: They are not; the reason has the option to change.
        """
        if self._rule == "off":
            raise AccessDenied("pickled functions are not taken here (-o pickle=off)")
        if self._rule != "all" and uid != self._owner_uid:
            raise AccessDenied(
                f"pickled functions are taken from the mounting user only, who is {self._owner_uid}"
                f" and not {uid}; export the function with jax.export, or mount with -o pickle=all"
            )
        if self._rule != "unsafe":
            await self._compiler.start()
            if not self._compiler.holds_pickles:
                raise AccessDenied(
                    f"pickled functions are not taken: {self._compiler.why_no_pickles}; "
                    "export the function with jax.export, or mount with -o pickle=unsafe"
                )
