"""Values of a module as graphs that are independent of its MLIR context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from jaxlib.mlir import ir

MAX_STEPS = 100  # through calls, from where a value is used to where it is made
MAX_CONSTANT = 4096  # elements of a constant whose text is compared
_ENDS = frozenset({"func.return", "stablehlo.return", "chlo.return"})
_SYMBOLS = frozenset({"decomposition", "callee"})
_BROADCAST = "stablehlo.broadcast_in_dim"


@attrs.frozen
class InlinedCall:
    """A call of a function, inside which values are looked at.

    Attributes:
        operation: The call.
        block: The block of the function.
        around: The call around it; None if the function is where the look began.
    """

    operation: Any
    block: Any = attrs.field(eq=False)
    around: InlinedCall | None


@attrs.frozen
class SeenValue:
    """A value of a module, as seen from the calls around it.

    Attributes:
        value: The value in MLIR's bindings.
        call: The innermost call around it.
    """

    value: Any
    call: InlinedCall | None = None


@attrs.frozen(eq=False)
class Term:
    """A value of a body.

    Attributes:
        name: The operation that makes it: ``stablehlo.add``; ``argument`` for an argument of the
            function, ``splat`` for a constant of equal elements, ``block`` for an argument of a
            region.
        index: The position among the operation's results, or among the arguments.
        element: The element type: ``f32``.
        shape: The sizes of the dimensions.
        attributes: The operation's attributes as text; a constant's value.
        operands: What the operation takes.
        regions: The regions; for a composite its decomposition.
    """

    name: str
    index: int
    element: str
    shape: tuple[int, ...]
    attributes: tuple[tuple[str, str], ...] = ()
    operands: tuple[Term, ...] = ()
    regions: tuple[Region, ...] = ()


@attrs.frozen(eq=False)
class Region:
    """A region of a term.

    Attributes:
        arguments: Its arguments.
        results: What it returns.
    """

    arguments: tuple[Term, ...]
    results: tuple[Term, ...]


class Reader:
    """The values of one module."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        """Takes the module's functions by their names."""
        self._functions = functions

    def resolve(self, place: SeenValue) -> SeenValue:
        """Returns where a value is made: calls and arguments of their functions are followed.

        After ``MAX_STEPS`` it returns where it is, so that recursion has an end.
        """
        for _ in range(MAX_STEPS):
            value, call = place.value, place.call
            owner = value.owner
            if isinstance(owner, ir.Block):
                if call is None or owner != call.block:
                    return place
                number = ir.BlockArgument(value).arg_number
                place = SeenValue(call.operation.operands[number], call.around)
                continue
            operation = owner.operation  # a view may have another ``name``, as a composite's
            block = self.body(operation, "callee") if operation.name == "func.call" else None
            if block is None:
                return place
            returned = returned_by(block)[ir.OpResult(value).result_number]
            place = SeenValue(returned, InlinedCall(operation, block, call))
        return place

    def body(self, operation: Any, key: str) -> Any:
        """Returns the block of the function that an operation names; None if it has none."""
        name = ir.FlatSymbolRefAttr(operation.attributes[key]).value
        function = self._functions.get(name)
        if function is None or not len(function.regions[0].blocks):
            return None
        return function.regions[0].blocks[0]

    def regions(self, operation: Any) -> list[Any]:
        """Returns the blocks of an operation's regions, and of its decomposition."""
        blocks = [region.blocks[0] for region in operation.regions if len(region.blocks)]
        if operation.name == "stablehlo.composite":
            block = self.body(operation, "decomposition")
            blocks += [] if block is None else [block]
        return blocks


def returned_by(block: Any) -> list[Any]:
    """Returns the values that a block returns."""
    last = block.operations[len(block.operations) - 1].operation
    return list(last.operands) if last.name in _ENDS else []


def type_of(value: Any) -> tuple[str, tuple[int, ...]]:
    """Returns the element type and the shape of a value; nothing for tokens and dynamic shapes."""
    found = value.type
    if not isinstance(found, ir.RankedTensorType) or not found.has_static_shape:
        return str(found), ()
    return str(found.element_type), tuple(found.shape)


def splat_text(value: Any) -> str | None:
    """Returns the element of which a constant is full, as text, also if it was broadcast."""
    owner = value.owner
    while not isinstance(owner, ir.Block) and owner.operation.name == _BROADCAST:
        owner = owner.operands[0].owner
    if isinstance(owner, ir.Block) or owner.operation.name != "stablehlo.constant":
        return None
    text = _constant_text(owner.operation)
    is_list = text is None or text.startswith(("dense<[", 'dense<"'))
    return None if is_list else text


def _constant_text(mlir: Any) -> str | None:
    """Returns a constant's value without its type; None for a long one."""
    size = 1
    for length in mlir.results[0].type.shape:
        size *= length
    try:
        attribute = mlir.attributes["value"]
    except TypeError:  # complex elements: the bindings have no such attribute
        text = str(mlir.get_asm(print_generic_op_form=True, large_elements_limit=4))
        return text[text.index("dense") : text.rindex("> : tensor")] if "dense<" in text else None
    if size > MAX_CONSTANT and not getattr(attribute, "is_splat", False):
        return None
    text = str(attribute)
    return text[: text.rindex("> :")] if "> :" in text else text


def attribute_texts(operation: Any) -> tuple[tuple[str, str], ...]:
    """Returns the attributes that decide what an operation computes, as text."""
    if operation.name == "stablehlo.constant":
        return (("value", str(_constant_text(operation))),)
    return tuple(
        (name, str(operation.attributes[name]))
        for name in sorted(operation.attributes)
        if name not in _SYMBOLS and not name.startswith(("mhlo.", "jax."))
    )


class TermReader:
    """Makes terms of the values of a function, each once."""

    def __init__(self, reader: Reader, arguments: Any) -> None:
        """Takes the module's reader, and the arguments of the function."""
        self._reader = reader
        self._known: dict[Any, Term] = {}
        self._add_arguments("argument", arguments, None)

    def term(self, value: Any, call: InlinedCall | None = None) -> Term:
        """Returns the term of a value."""
        place = self._reader.resolve(SeenValue(value, call))
        if place not in self._known:
            self._known[place] = self._made(place)
        return self._known[place]

    def _add_arguments(self, name: str, values: Any, call: InlinedCall | None) -> tuple[Term, ...]:
        terms = [Term(name, index, *type_of(value)) for index, value in enumerate(values)]
        for value, term in zip(values, terms, strict=True):
            self._known[SeenValue(value, call)] = term
        return tuple(terms)

    def _made(self, place: SeenValue) -> Term:
        value, call = place.value, place.call
        text = splat_text(value)
        if text is not None:
            return Term("splat", 0, *type_of(value), (("value", text),))
        operation = value.owner.operation
        operands = tuple(self.term(one, call) for one in operation.operands)
        regions = []
        for block in self._reader.regions(operation):
            arguments = self._add_arguments("block", block.arguments, call)
            results = tuple(self.term(one, call) for one in returned_by(block))
            regions.append(Region(arguments, results))
        return Term(
            operation.name,
            ir.OpResult(value).result_number,
            *type_of(value),
            attribute_texts(operation),
            operands,
            tuple(regions),
        )
