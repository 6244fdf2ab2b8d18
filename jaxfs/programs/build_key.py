"""Everything that decides what a program computes, as the key of its builds.

Two programs with equal keys are built once.  Platform, devices and the toolchain decide how it is
computed; `Builder` adds them.
"""

from __future__ import annotations

import os

import attrs

from jaxfs.posix.cpu_features import instruction_set
from jaxfs.types.avals import Aval

JitOptions = tuple[tuple[str, str], ...]  # sorted by name
Types = tuple[Aval, ...]
_WITHOUT_EFFECT = frozenset({"JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR", "JAX_LOG_COMPILES"})
Steps = tuple[str, ...]  # as in a path: ("vmap", "grad") is vmap of grad


@attrs.frozen
class BuildKey:
    """A source by its content, its transformations and its input types.

    Attributes:
        source_sha256: hash of the source.
        options: arguments of ``jax.jit`` for a pickled function.
        steps: transformations in the order of a path, the outermost first.
        types: of all inputs, flat; None where the source fixes them, or nothing does yet.

    >>> loss = BuildKey("5feceb66", (("donate_argnums", "0"),))
    >>> loss.then(("grad",), None).then(("vmap",), None).steps
    ('vmap', 'grad')
    """

    source_sha256: str
    options: JitOptions = ()
    steps: Steps = ()
    types: Types | None = None

    def then(self, steps: Steps, types: Types | None) -> BuildKey:
        """Returns the key of this program transformed or specialized.

        Args:
            steps: Further transformations, the outermost first; may be empty.
            types: The types of the inputs; None leaves them as they are.
        """
        known = self.types if types is None else types  # no inputs at all are types, too
        return attrs.evolve(self, steps=(*steps, *self.steps), types=known)

    @property
    def cache_parts(self) -> list[JitOptions | Steps | list[str] | None]:
        """What the cache's key has beside the source; empty where the source alone decides.

        Its form is part of the names in the state directory and must not change.
        """
        types = None if self.types is None else [str(aval) for aval in self.types]
        if not self.options and not self.steps and types is None:
            return []
        return [self.options, self.steps, types]


def machine_fingerprint() -> str:
    """Returns what an executable depends on beside its artifact, its devices and the toolchain."""
    flags = [f"{name}={value}" for name, value in sorted(os.environ.items()) if _decides(name)]
    return " ".join([instruction_set(), *flags])


def _decides(variable: str) -> bool:
    """Returns whether an environment variable decides what XLA compiles."""
    return variable.startswith(("XLA_FLAGS", "JAX_")) and variable not in _WITHOUT_EFFECT
