"""The boundaries of requests in a conversation: what is written to one open ``call`` file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxfs.codecs import text_input
from jaxfs.codecs.diagnostics import wrong_count
from jaxfs.codecs.formats import format_named
from jaxfs.errors import Invalid
from jaxfs.types.buffers import Parameter


class Framer:
    r"""Finds the length of one request while its bytes arrive; the next one takes a new framer.

    >>> from jaxfs.types.avals import Aval
    >>> from jaxfs.types.signature import Param
    >>> framer = Framer("json", [Param("x", Aval("f32", (2,)))])
    >>> framer.needed(memoryview(b"[1,")), framer.needed(memoryview(b"[1, 2]\n[3, 4]\n"))
    (None, 7)

    Args:
        name: The format, which ``formats.detect`` finds by the request's first byte.
        params: The parameters of the program.
        count: Returns how many arrays a reference in text refers to.

    Raises:
        Invalid: The format ends only with the file.
    """

    def __init__(
        self,
        name: str,
        params: Sequence[Parameter],
        count: Callable[[str], int] = text_input.one_array,
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
        """Returns the request's length in bytes; None while ``buffer`` is too short to know.

        Args:
            buffer: All bytes so far, from the request's first one on.  It may hold more than the
                request, or less than the length returned.

        Raises:
            Invalid: The bytes cannot become a request.
        """
        if self._known is None:
            self._known = self._frames.needed(buffer)
        if self._known == 0 and buffer:
            raise wrong_count(self._params, "data; without inputs, a request is a newline")
        return self._known or None
