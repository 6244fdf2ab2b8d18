"""``results/<id>.<what>``: selecting, converting and sizing results."""

from __future__ import annotations

import attrs
import trio

from jaxfs.calls.call import Call
from jaxfs.calls.requests import CHEAP, THREAD_BYTES
from jaxfs.codecs import formats
from jaxfs.codecs.buffers import Rope, TypedBuffer
from jaxfs.errors import NotFound
from jaxfs.ownership import SERIALS
from jaxfs.stablehlo.signature import Param, Signature

STORIES = ("status", "error")


@attrs.define(eq=False)
class View:
    """One way to look at a result: all outputs or one, in a format."""

    call: Call
    suffix: str  # "", "0", "result", "txt", "0.txt" ...
    output: int | None
    format: str
    serial: int = attrs.field(factory=lambda: next(SERIALS))
    _rope: Rope | None = None

    def params(self) -> tuple[Param, ...]:
        """The outputs it shows; empty before submission."""
        if self.call.version is None:
            return ()
        outputs = self.call.version.signature.outputs
        return outputs if self.output is None else (outputs[self.output],)

    def size(self) -> int:
        """The exact size: known from submission on where the format allows, else when done."""
        if self._rope is not None:
            return self._rope.nbytes
        if self.call.version is None or self.call.error is not None:
            return 0
        fixed = formats.encoded_size(self.format, self.params())
        if fixed is not None:
            return fixed
        return self._size_by_value()

    def _size_by_value(self) -> int:
        """Text is as long as its numbers: stat of a large one that nobody opened yet says 0."""
        if not self.call.has_ended or self.call.outcome is None:
            return 0
        outputs = self._selected(self.call.outputs())
        if sum(len(buffer.data) for buffer in outputs) > THREAD_BYTES:
            return 0
        self._rope = formats.encode(self.format, self.params(), outputs)
        return self._rope.nbytes

    async def load(self) -> Rope:
        """The bytes, made once; good while the call's memory is held (``Call.hold``).

        Raises NotReady, Invalid, Cancelled for a removed result, or the call's own error.
        """
        outputs = self._selected(self.call.outputs())
        if self._rope is None:
            self._rope = await encode(self.format, self.params(), outputs)
        return self._rope

    def _selected(self, outputs: list[TypedBuffer]) -> list[TypedBuffer]:
        return outputs if self.output is None else [outputs[self.output]]


async def encode(form: str, params: tuple[Param, ...], buffers: list[TypedBuffer]) -> Rope:
    """Outputs in a format, as one stream; what takes long to write does not hold up the mount."""
    if form not in CHEAP and sum(len(buffer.data) for buffer in buffers) > THREAD_BYTES:
        return await trio.to_thread.run_sync(formats.encode, form, params, buffers)
    return formats.encode(form, params, buffers)


def view_of(call: Call, suffix: str) -> View:
    """The view a suffix names, the same object each time.  Raises NotFound."""
    found = call.views.get(suffix)
    if not isinstance(found, View):
        output, form = _parse(suffix, call.version.signature if call.version else None)
        found = call.views[suffix] = View(call, suffix, output, form)
    return found


def _parse(suffix: str, signature: Signature | None) -> tuple[int | None, str]:
    head, _, tail = suffix.rpartition(".")
    if not suffix:
        return None, "npy"
    if suffix in formats.BY_NAME:
        return None, suffix
    if head and tail in formats.BY_NAME:
        return _output(head, signature), tail
    return _output(suffix, signature), "npy"


def _output(word: str, signature: Signature | None) -> int:
    names = [param.name for param in signature.outputs] if signature else []
    if word.isdecimal() and int(word) < len(names) and str(int(word)) == word:
        return int(word)
    if word and names.count(word) == 1:
        return names.index(word)
    raise NotFound(f"there is no output {word!r} and no format {word!r}")
