"""Inputs of a run from the bytes that a user wrote, checked against the signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from jaxfs.arrays.array_refs import ArrayRef, leaf_order
from jaxfs.arrays.codec_threads import run_codec
from jaxfs.arrays.decoded_memory import (
    THREAD_BYTES,
    Charge,
    DecodedMemory,
    InputCopies,
    SharedPlace,
)
from jaxfs.arrays.producers import INLINE_INPUT_BYTES
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.codecs import formats, text_input
from jaxfs.codecs.diagnostics import mismatch
from jaxfs.codecs.infer import ANYTHING, ExpectedParams, InferredParam
from jaxfs.codecs.infer import infer as infer_types
from jaxfs.engine.interface import Range
from jaxfs.errors import Invalid, JaxfsError, NotFound
from jaxfs.ipc.shared_memory import Pool
from jaxfs.ipc.spool import Spool
from jaxfs.programs.commits import look_up
from jaxfs.types.buffers import Argument, Parameter, Reference, TypedBuffer

LOOP_BYTES = 1 << 14  # more than this is parsed in a thread, and the headers of .npy looked at
LOOP_REFERENCES = 256  # looked up in one turn of the event loop
LOOP_INPUTS = 1024  # made in one turn
Parsed = TypeVar("Parsed")
FindArray = Callable[[str], ArrayRef]  # looks a path up; raises NotFound, AccessDenied


def format_of(spool: Spool, fixed: str) -> str:
    """Returns the format of a request.

    Args:
        spool: The request; its first bytes show the format.
        fixed: The name of a format, or empty to detect it.
    """
    return fixed or formats.detect(spool.read(0, 16))


class Request:
    """What a user wrote: bytes in a format, and the references in them.

    References are looked up once, when the request is complete: they mean what their names lead to
    at that moment.

    Attributes:
        format: The name of the format.
        uid: The user.
    """

    def __init__(self, spool: Spool, fixed_format: str, uid: int) -> None:
        self.format = format_of(spool, fixed_format)
        self._data = spool.view()
        self._segment, self._start = spool.segment, spool.start
        self.uid = uid
        self._refs: dict[str, ArrayRef | JaxfsError] = {}  # by path

    @classmethod
    async def of(cls, spool: Spool, fixed_format: str, find: FindArray, uid: int) -> Request:
        """Returns the request in a spool, its references looked up.

        Args:
            spool: The bytes; they must stay as long as the request is used.
            fixed_format: The name of a format, or empty to detect it from the first bytes.
            find: Looks a reference up.
            uid: The user in whose thread a long request is parsed.

        Raises:
            Invalid: Text has too many references, or is not text.
        """
        request = cls(spool, fixed_format, uid)
        if request.format == "json":
            paths = await request._parse(text_input.references)
            for number, path in enumerate(sorted(paths), 1):
                request._refs[path] = await look_up(partial(_find_or_error, find, path))
                if number % LOOP_REFERENCES == 0:
                    await trio.lowlevel.checkpoint()
        return request

    async def _parse(
        self, parse: Callable[[memoryview], Parsed], unpacked_bytes: int = 0
    ) -> Parsed:
        """Returns the result of ``parse`` on the data, from a thread if it takes long.

        Args:
            parse: Is called with the data.
            unpacked_bytes: How long the result may be.
        """
        if max(len(self._data), unpacked_bytes) <= LOOP_BYTES:
            return parse(self._data)
        return await run_codec(self.uid, lambda: parse(self._data))

    def reference(self) -> ArrayRef | None:
        """Returns the reference that the request consists of, or None if it is anything else.

        Raises:
            JaxfsError: What looking the reference up raised.
        """
        if len(self._refs) != 1 or len(bytes(self._data[:512]).split()) != 1:
            return None
        (path,) = self._refs
        return self._ref(path)

    async def infer(self, expected: ExpectedParams = ANYTHING) -> tuple[InferredParam, ...]:
        """Returns the types of the inputs, for a program that lacks some.

        Raises:
            Invalid: The request is not valid in its format, or does not fit what is known.
            JaxfsError: What looking a reference up raised.
        """
        referenced = {
            path: tuple(InferredParam(param.name, param.aval) for param in self._ref(path).params)
            for path in self._refs
        }
        return await self._parse(lambda data: infer_types(self.format, data, expected, referenced))

    async def decode(
        self,
        params: Sequence[Parameter],
        pool: Pool,
        charge: Charge,
        memory: DecodedMemory | None = None,
    ) -> list[RunInput]:
        """Returns the inputs, retained.

        Arrays in memory of ``pool`` are passed as ranges of it, without a copy; arrays in memory
        of another user's engine are copied.

        Args:
            params: The parameters of the inputs.
            pool: The memory for those that have to be copied or unpacked.
            charge: Charges the user for that memory, before it is taken.
            memory: The memory of those that are unpacked or parsed, if it is not to be theirs
                alone; the caller closes it.

        Raises:
            Invalid: The inputs do not fit ``params``; the message has both types.
            OverQuota: The user would exceed its share.
            JaxfsError: What looking a reference up raised, or the error of its producer.
        """
        decoded = DecodedMemory(pool, charge) if memory is None else memory
        inputs, copies = list[RunInput](), InputCopies(pool, charge)
        try:
            arguments = self._match_names(await self._arguments(params, charge, decoded), params)
            for index, argument in enumerate(arguments):
                if isinstance(argument, TypedBuffer) and isinstance(argument.place, SharedPlace):
                    inputs.append(decoded.hand_out(argument.place))
                else:
                    inputs.append(self._input(index, params[index], argument, copies))
                if index % LOOP_INPUTS == LOOP_INPUTS - 1:
                    await trio.lowlevel.checkpoint()
            await copies.make(self.uid)
        except BaseException:
            release_inputs(inputs)
            raise
        finally:
            copies.close()
            if memory is None:
                decoded.close()
        return inputs

    async def _arguments(
        self, params: Sequence[Parameter], charge: Charge, memory: DecodedMemory
    ) -> list[Argument]:
        """Returns what the request consists of.

        An archive that may be a thousand times as long inside is refused before it is unpacked,
        where that would exceed the user's share.
        """
        if self.format == "json":
            counts = {path: len(self._ref(path).params) for path in self._refs}
            return await self._parse(
                lambda data: text_input.decode(data, params, counts, memory.take)
            )

        def decode(data: memoryview) -> list[Argument]:
            return formats.decode(self.format, data, params, memory.take)

        unpacked = sum(param.aval.nbytes for param in params)
        if self.format == "npz":
            charge(max(unpacked - len(self._data), 0))()
            return await self._parse(decode, unpacked)
        if len(params) > LOOP_INPUTS:
            return await self._parse(decode)
        if len(self._data) <= THREAD_BYTES and self.format != "safetensors":
            return decode(self._data)
        if formats.is_sliced(self.format, self._data, params):
            return decode(self._data)
        return await self._parse(decode)

    def _match_names(
        self, arguments: list[Argument], params: Sequence[Parameter]
    ) -> list[Argument]:
        """Returns the arguments with the leaves of each reference assigned by name if possible."""
        found = list(arguments)
        for first, argument in enumerate(arguments):
            if not isinstance(argument, Reference) or argument.leaf:
                continue  # all leaves of a reference are assigned with its first one
            leaves = [param.name for param in self._ref(argument.path).params]
            names = [param.name for param in params[first : first + len(leaves)]]
            order = leaf_order(names, leaves)
            found[first : first + len(leaves)] = [Reference(argument.path, n) for n in order]
        return found

    def _input(
        self,
        index: int,
        param: Parameter,
        argument: Argument,
        copies: InputCopies,
    ) -> RunInput:
        """Returns an input; what has to be copied to its segment is added to ``copies``."""
        if isinstance(argument, Reference):
            return input_of_ref(index, param, self._ref(argument.path), argument.leaf, copies)
        nbytes = len(argument.data)
        if nbytes <= INLINE_INPUT_BYTES:
            return bytes(argument.data)
        segment = self._segment
        is_ours = segment is not None and segment.belongs_to(copies.pool)
        if segment is not None and is_ours and argument.offset is not None:
            return Range(segment.retain(), self._start + argument.offset, nbytes)
        return copies.add(argument.data)

    def _ref(self, path: str) -> ArrayRef:
        """Returns a reference that was looked up when the request was made.

        Raises:
            JaxfsError: What looking it up raised.
        """
        found = self._refs[path]
        if isinstance(found, JaxfsError):
            raise found
        return found


def _find_or_error(find: FindArray, path: str) -> ArrayRef | JaxfsError:
    """Returns what a path leads to, or the error to raise if the word proves to be a reference."""
    try:
        return find(path)
    except NotFound as error:
        return Invalid(error.reason)  # ENOENT would be about the file that is written to
    except JaxfsError as error:
        return error.with_traceback(None)  # which would keep the frames that raised it


def input_of_ref(
    index: int, param: Parameter, ref: ArrayRef, leaf: int, copies: InputCopies
) -> RunInput:
    """Returns array ``leaf`` of a reference as input ``index``; ``copies`` has it to copy, perhaps.

    Raises:
        Invalid: The types differ; the message has both.
    """
    found = ref.param(leaf)
    if found.aval != param.aval:
        name = f"{ref.path}.{found.name}" if found.name and len(ref.params) > 1 else ref.path
        raise mismatch(index, param, f"{found.aval} of {name}")
    return ref.input(leaf, copies.pool, copies.of)
