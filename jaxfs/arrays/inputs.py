"""Bytes a user wrote -> inputs the engine takes, checked against the signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import trio

from jaxfs.arrays.producers import ArrayRef, copied, leaf_order
from jaxfs.arrays.run_inputs import RunInput, release_inputs
from jaxfs.codecs import formats, text_input
from jaxfs.codecs.diagnostics import refuse
from jaxfs.codecs.infer import ANYTHING, ExpectedParams, InferredParam
from jaxfs.codecs.infer import infer as infer_types
from jaxfs.engine.interface import Input, Range
from jaxfs.errors import Invalid, JaxfsError, NotFound
from jaxfs.ipc.channel import INLINE_BYTES
from jaxfs.ipc.shared_memory import Pool, Segment
from jaxfs.ipc.spool import Spool
from jaxfs.types.buffers import Argument, Parameter, Reference, TypedBuffer
from jaxfs.types.memory_layout import ALIGNMENT

THREAD_BYTES = 1 << 18  # what takes longer to parse than this does not hold up the mount
CHEAP = frozenset({"npy", "raw"})  # formats whose data is not looked at, only sliced
Parsed = TypeVar("Parsed")
FindArray = Callable[[str], ArrayRef]  # what a reference stands for; raises NotFound, AccessDenied


def format_of(spool: Spool, wanted: str) -> str:
    """The format of a request: what its name says, or else what its first bytes say."""
    return wanted or formats.detect(spool.read(0, 16))


class Request:
    """What somebody wrote: bytes in a format, and the references in them.

    A reference is looked up once, when the request is complete: it means what its name stands for
    then.
    """

    def __init__(self, spool: Spool, form: str) -> None:
        self.form = form
        self._data = spool.view()
        self._segment = spool.segment
        self._is_long = spool.size > THREAD_BYTES and form not in CHEAP
        self._parts: dict[str, ArrayRef | JaxfsError] = {}

    @classmethod
    async def of(cls, spool: Spool, wanted: str, find: FindArray) -> Request:
        """``wanted`` is a format, or empty for the one that the first bytes tell."""
        request = cls(spool, format_of(spool, wanted))
        if request.form == "json":
            paths = await request._parsed(text_input.references)
            request._parts = {path: _found(find, path) for path in paths}
        return request

    async def _parsed(self, parse: Callable[..., Parsed], *rest: object) -> Parsed:
        """What ``parse`` finds in the data."""
        if self._is_long:
            return await trio.to_thread.run_sync(parse, self._data, *rest)
        return parse(self._data, *rest)

    def reference(self) -> ArrayRef | None:
        """What all of it stands for, where it is one reference.  Raises what looking it up did."""
        if len(self._parts) != 1 or len(bytes(self._data[:512]).split()) != 1:
            return None
        (part,) = self._parts.values()
        if isinstance(part, JaxfsError):
            raise part
        return part

    async def infer(self, wanted: ExpectedParams = ANYTHING) -> tuple[InferredParam, ...]:
        """The types it has, for a program that does not know all of its own.  Raises Invalid."""
        referred = {path: _avals(part) for path, part in self._parts.items()}
        return await self._parsed(lambda data: infer_types(self.form, data, wanted, referred))

    async def decode(self, params: Sequence[Parameter], pool: Pool) -> list[RunInput]:
        """Its inputs.  Raises Invalid with both types named, and what a reference's source says.

        Arrays that stand in ``pool`` already are handed on as ranges of it, without a copy; what
        another user has written into this one's call is copied.
        """
        arguments = self._by_name(await self._arguments(params), params)
        inputs = list[RunInput]()
        try:
            for index, argument in enumerate(arguments):
                inputs.append(self._input(index, params[index], argument, pool))
        except BaseException:
            release_inputs(inputs)
            raise
        return inputs

    async def _arguments(self, params: Sequence[Parameter]) -> list[Argument]:
        if self.form == "json":
            counts = {path: len(_avals(part)) for path, part in self._parts.items()}
            return await self._parsed(text_input.decode, params, counts)
        return await self._parsed(lambda data: formats.decode(self.form, data, params))

    def _by_name(self, arguments: list[Argument], params: Sequence[Parameter]) -> list[Argument]:
        """Where a reference stands for several arrays, they are told apart by name if they can."""
        found = list(arguments)
        for first, argument in enumerate(arguments):
            part = self._parts.get(argument.path) if isinstance(argument, Reference) else None
            if (
                not isinstance(argument, Reference)
                or argument.leaf
                or not isinstance(part, ArrayRef)
            ):
                continue  # what the first of them says goes for all
            leaves = [param.name for param in part.params]
            last = first + len(leaves)
            order = leaf_order([param.name for param in params[first:last]], leaves)
            found[first:last] = [Reference(argument.path, leaf) for leaf in order]
        return found

    def _input(self, index: int, param: Parameter, argument: Argument, pool: Pool) -> RunInput:
        if isinstance(argument, Reference):
            part = self._parts[argument.path]
            if isinstance(part, JaxfsError):
                raise part
            return input_of_ref(index, param, part, argument.leaf, pool)
        return as_input(argument, self._segment, pool)


def _found(find: FindArray, path: str) -> ArrayRef | JaxfsError:
    """What a word stands for, or why it stands for nothing: to be told if it is one."""
    try:
        return find(path)
    except NotFound as error:
        return Invalid(error.reason)  # the name is bad input; ENOENT is for the file one writes to
    except JaxfsError as error:
        return error


def _avals(part: ArrayRef | JaxfsError) -> tuple[InferredParam, ...]:
    """The types of what a reference stands for; the error is raised later, by its place."""
    if isinstance(part, JaxfsError):
        raise part
    return tuple(InferredParam(param.name, param.aval) for param in part.params)


def input_of_ref(index: int, param: Parameter, part: ArrayRef, leaf: int, pool: Pool) -> RunInput:
    """One array of a part as an input.  Raises Invalid naming both where the types differ."""
    given = part.params[leaf]
    if given.aval != param.aval:
        name = f"{part.path}.{given.name}" if given.name and len(part.params) > 1 else part.path
        raise refuse(index, param, f"{given.aval} of {name}")
    return part.input(leaf, pool)


def as_input(buffer: TypedBuffer, segment: Segment | None, pool: Pool) -> Input:
    """A decoded buffer as an input, copied where it does not stand in the engine's own memory."""
    if len(buffer.data) <= INLINE_BYTES // 8:
        return bytes(buffer.data)
    if segment is not None and segment.is_of(pool) and buffer.offset is not None:
        return Range(segment.retain(), buffer.offset, len(buffer.data))
    return copied(buffer.data, pool)


def is_aligned(buffer: TypedBuffer) -> bool:
    """Whether the engine can compute with it where it stands."""
    return buffer.offset is not None and buffer.offset % ALIGNMENT == 0
