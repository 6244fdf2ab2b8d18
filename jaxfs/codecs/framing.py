"""Where one request ends and the next begins, in what is written to a conversation (``call``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxfs.codecs import text_input
from jaxfs.codecs.diagnostics import refuse_count
from jaxfs.codecs.formats import format_named
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Parameter


class Framer:
    """Finds the length of one request while its bytes arrive; make a new one for the next.

    ``name`` is a format's, as ``formats.detect`` tells it from the request's first byte; ``count``
    says how many arrays a reference in text stands for.  Raises Invalid for a format that only the
    end of the file ends.
    """

    def __init__(
        self, name: str, params: Sequence[Parameter], count: Callable[[str], int] = lambda path: 1
    ) -> None:
        frames = format_named(name).frames
        if frames is None:
            raise Invalid(
                f"a conversation cannot tell where {name} data ends; submit it as a file of calls/"
            )
        self._params = params
        self._frames = text_input.TextFrames(params, count) if name == "json" else frames(params)
        self._known: int | None = None

    def needed(self, buffer: memoryview) -> int | None:
        """The request's length in bytes, None while it cannot be told.

        ``buffer`` holds all bytes so far from the request's beginning, and may hold more than the
        request; a known length may be more than is there yet.  Raises Invalid as soon as the bytes
        cannot become a request.
        """
        if self._known is None:
            self._known = self._frames.needed(buffer)
        if self._known == 0 and buffer:
            raise refuse_count(self._params, "data; without inputs, a request is a newline")
        return self._known or None
