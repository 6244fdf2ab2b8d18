"""JAX's refusals in words of files and paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jaxfs.errors import Invalid, NotSupported

_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (
            r"Gradient only defined for scalar-output functions. "
            r"Output (?P<what>had shape: \(.*?\)|was [^.]*)",
            "grad needs a program with one scalar result, and this one's {what}; use jacrev or "
            "jacfwd instead, or vmap/grad over a program that takes one example",
        ),
        (
            r"grad requires real- or complex-valued inputs.*?but got (?P<what>\w+)",
            "grad needs an input of a floating-point type, and this one is {what}; choose others "
            "with grad:argnums=, or grad:allow_int=1",
        ),
        (
            r"grad requires real-valued outputs.*?(?:but got|got) (?P<what>\w+)",
            "grad needs a result of a floating-point type, and this one is {what}",
        ),
        (
            r"jac(?:fwd|rev) requires .*?but got (?P<what>\w+)",
            "a Jacobian needs floating-point inputs and results, and one is {what}",
        ),
        (
            r"Reverse-mode differentiation does not work for (?P<what>[\w.]+)",
            "the program has a loop ({what}) whose length depends on its data: it has no reverse "
            "mode; use jvp or jacfwd, or a loop of a fixed length",
        ),
    )
)


@contextmanager
def in_words_of_paths() -> Iterator[None]:
    """What JAX refuses becomes NotSupported with advice; other errors pass."""
    try:
        yield
    except Invalid as error:
        words = f"{error.reason} {error.diagnostics}"
        for pattern, advice in _ADVICE:
            found = pattern.search(" ".join(words.split()))
            if found:
                reason = advice.format(what=found["what"])
                raise NotSupported(reason, error.diagnostics or error.reason) from None
        raise
