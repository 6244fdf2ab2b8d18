"""Adds advice, in terms of files and paths, to JAX's errors for impossible transformations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jaxfs.errors import Invalid, NotSupported

_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"Reverse-mode differentiation does not work for (?P<what>[\w.]+)",
            "the program has a loop ({what}) whose length depends on its data: it has no reverse "
            "mode; use jvp or jacfwd, or a loop of a fixed length",
        ),
        (
            r"(?:Differentiation|Transpose|JVP) rule.*? for '?(?P<what>[\w-]+)'? not implemented",
            "the program has an operation without a derivative: {what}",
        ),
        (
            r"(?:non-empty|context) (?P<what>mesh) (?:in context|cannot be empty)",
            "the program shards arrays over a mesh, and there is none: write 'mesh x4' to its "
            "options, or give no examples and call it through transformations/jit:mesh=x4/",
        ),
        (
            r"Batching rule for '?(?P<what>[\w-]+)'? not implemented",
            "the program has an operation that cannot be batched: {what}",
        ),
    )
)


@contextmanager
def with_advice() -> Iterator[None]:
    """Replaces JAX's errors by ones with advice, for those that have some; other errors pass.

    Raises:
        NotSupported: The transformation does not apply; the message is the advice.
    """
    try:
        yield
    except Invalid as error:
        text = " ".join(f"{error.reason} {error.diagnostics}".split())
        for pattern, advice in _ADVICE:
            found = pattern.search(text)
            if found:
                reason = advice.format(what=found["what"])
                raise NotSupported(reason, error.diagnostics or error.reason) from None
        raise
