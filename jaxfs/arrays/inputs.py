"""Inputs of a run from the bytes that a user wrote, checked against the signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from jaxfs.arrays.array_refs import ArrayRef, leaf_order
from jaxfs.arrays.producers import INLINE_INPUT_BYTES, copy_to_pool
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
from jaxfs.types.buffers import Argument, Parameter, Reference

THREAD_BYTES = 1 << 18  # more than this is parsed in a thread: it would delay other requests
CHEAP = frozenset({"npy", "raw"})  # formats that are sliced, not parsed: never in a thread
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
    """

    def __init__(self, spool: Spool, fixed_format: str) -> None:
        self.format = format_of(spool, fixed_format)
        self._data = spool.view()
        self._segment, self._start = spool.segment, spool.start
        self._needs_thread = spool.size > THREAD_BYTES and self.format not in CHEAP
        self._refs: dict[str, ArrayRef | JaxfsError] = {}  # by path

    @classmethod
    async def of(cls, spool: Spool, fixed_format: str, find: FindArray) -> Request:
        """Returns the request in a spool, its references looked up.

        Args:
            spool: The bytes; they must stay as long as the request is used.
            fixed_format: The name of a format, or empty to detect it from the first bytes.
            find: Looks a reference up.
        """
        request = cls(spool, fixed_format)
        if request.format == "json":
            paths = await request._parse(text_input.references)
            for path in paths:
                request._refs[path] = await look_up(partial(_find_or_error, find, path))
        return request

    async def _parse(self, parse: Callable[..., Parsed], *arguments: object) -> Parsed:
        """Returns the result of ``parse`` on the data, from a thread if there is much of it.

        Args:
            parse: Is called with the data and ``arguments``.
            *arguments: What ``parse`` takes after the data.
        """
        if self._needs_thread:
            return await trio.to_thread.run_sync(parse, self._data, *arguments)
        return parse(self._data, *arguments)

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

    async def decode(self, params: Sequence[Parameter], pool: Pool) -> list[RunInput]:
        """Returns the inputs, retained.

        Arrays in memory of ``pool`` are passed as ranges of it, without a copy; arrays in memory
        of another user's engine are copied.

        Raises:
            Invalid: The inputs do not fit ``params``; the message has both types.
            JaxfsError: What looking a reference up raised, or the error of its producer.
        """
        if self.format == "json":
            counts = {path: len(self._ref(path).params) for path in self._refs}
            arguments = await self._parse(text_input.decode, params, counts)
        else:
            arguments = await self._parse(lambda data: formats.decode(self.format, data, params))
        arguments = self._match_names(arguments, params)
        inputs = list[RunInput]()
        try:
            for index, argument in enumerate(arguments):
                inputs.append(self._input(index, params[index], argument, pool))
        except BaseException:
            release_inputs(inputs)
            raise
        return inputs

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

    def _input(self, index: int, param: Parameter, argument: Argument, pool: Pool) -> RunInput:
        if isinstance(argument, Reference):
            return input_of_ref(index, param, self._ref(argument.path), argument.leaf, pool)
        nbytes = len(argument.data)
        if nbytes <= INLINE_INPUT_BYTES:
            return bytes(argument.data)
        segment = self._segment
        if segment is not None and segment.belongs_to(pool) and argument.offset is not None:
            return Range(segment.retain(), self._start + argument.offset, nbytes)
        return copy_to_pool(argument.data, pool)

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
        return error


def input_of_ref(index: int, param: Parameter, ref: ArrayRef, leaf: int, pool: Pool) -> RunInput:
    """Returns array ``leaf`` of a reference as input ``index``.

    Raises:
        Invalid: The types differ; the message has both.
    """
    found = ref.params[leaf]
    if found.aval != param.aval:
        name = f"{ref.path}.{found.name}" if found.name and len(ref.params) > 1 else ref.path
        raise mismatch(index, param, f"{found.aval} of {name}")
    return ref.input(leaf, pool)
