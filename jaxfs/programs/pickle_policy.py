"""Whose pickled functions are taken: unpickling is running the author's code."""

from __future__ import annotations

from jaxfs.compiler.compiler_interface import Compiler
from jaxfs.errors import AccessDenied


class PicklePolicy:
    """``owner`` takes pickles of the mounting user, ``all`` everybody's, ``off`` nobody's.

    Without the sandbox none are taken, except with ``unsafe``, then the mounting user's.
    """

    def __init__(self, rule: str, owner_uid: int, compiler: Compiler) -> None:
        self._rule = rule
        self._owner_uid = owner_uid
        self._compiler = compiler

    async def check(self, uid: int) -> None:
        """Raises AccessDenied with the reason where a user's pickles are not taken."""
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
