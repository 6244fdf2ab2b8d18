"""All that decides what a program computes: two programs with equal recipes are one."""

from __future__ import annotations

import attrs

from jaxfs.types.avals import Aval


@attrs.frozen
class BuildKey:
    """A source by content, what is done to it, and for which types.

    ``steps`` are transformations as in a path, ``options`` those of the source's jit.  ``types``
    are None where the source tells them, or nobody yet.
    """

    source_sha256: str
    options: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()
    types: tuple[Aval, ...] | None = None

    def then(self, steps: tuple[str, ...], types: tuple[Aval, ...] | None) -> BuildKey:
        """This, transformed further or specialized."""
        return attrs.evolve(self, steps=(*steps, *self.steps), types=types or self.types)

    @property
    def key(self) -> list[object]:
        """What a cache has to know beside the source; empty where nothing is done to it."""
        types = None if self.types is None else [str(aval) for aval in self.types]
        return [self.options, self.steps, types] if self.options or self.steps or types else []
