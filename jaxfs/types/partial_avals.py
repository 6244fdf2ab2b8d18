"""Types of which not all is known before the call: ``f32[?,3]``, ``f32[b,2*b]``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_SHORT, Aval, DType
from jaxfs.types.size_expressions import names_in, solved_for, value_of

UNKNOWN = "?"


class PartialAval(msgspec.Struct, frozen=True, array_like=True):
    """The type of an array, some sizes of which are not known.

    Attributes:
        dtype: The element type, a short name of ``DTYPES``.
        sizes: For each dimension its size, ``?``, or jax.export's name for it (``b``, ``2*b``).
    """

    dtype: str
    sizes: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.sizes))}]"

    @property
    def row(self) -> DType:
        """Its element type's row of ``DTYPES``."""
        return BY_SHORT[self.dtype]

    @property
    def aval(self) -> Aval | None:
        """The type as an aval; None if a size is not known.

        >>> PartialAval("f32", (2, 3)).aval, PartialAval("f32", ("b", 3)).aval
        (Aval(dtype='f32', shape=(2, 3)), None)
        """
        numbers = tuple(size for size in self.sizes if isinstance(size, int))
        return Aval(self.dtype, numbers) if len(numbers) == len(self.sizes) else None


KnownAval = PartialAval | None  # None: nothing is known of the input


def as_partial(aval: Aval) -> PartialAval:
    """Returns the same type as a PartialAval, all sizes known.

    >>> str(as_partial(Aval("f32", (2, 3))))
    'f32[2,3]'
    """
    return PartialAval(aval.dtype, aval.shape)


def check_types(names: Sequence[str], expected: Sequence[KnownAval], types: Sequence[Aval]) -> None:
    """Checks the types of a call's inputs against what is known of them.

    An input of which nothing is known may be several, so the check ends there.

    >>> check_types(["x", "y"], [PartialAval("f32", ("b",)), PartialAval("f32", ("b", 3))],
    ...             [Aval("f32", (2,)), Aval("f32", (4, 3))])
    Traceback (most recent call last):
        ...
    jaxfs.errors.Invalid: y is f32[b,3], got f32[4,3]: dimension 0 (b) is 4, and b is 2 by x f32[2]

    Raises:
        Invalid: A type does not fit; the reason names the input and the size.
    """
    if None not in expected and len(expected) != len(types):
        listed = ", ".join(map(str, expected))
        raise Invalid(f"expected {len(expected)} inputs ({listed}), got {len(types)}")
    sizes: dict[str, tuple[int, str]] = {}
    for number, (partial, aval) in enumerate(zip(expected, types, strict=False)):
        if partial is None:
            return
        name = names[number] or f"input {number}"
        if partial.dtype != aval.dtype or len(partial.sizes) != len(aval.shape):
            raise Invalid(f"{name} is {partial}, got {aval}")
        for difference in _wrong_sizes(partial, aval, name, sizes):
            raise Invalid(f"{name} is {partial}, got {aval}: {difference}")
    for number, (partial, aval) in enumerate(zip(expected, types, strict=False)):
        name = names[number] or f"input {number}"
        if partial is not None and (why := _wrong_expression(partial, aval, name, sizes)):
            raise Invalid(f"{name} is {partial}, got {aval}: {why}")


def _wrong_expression(
    partial: PartialAval, aval: Aval, name: str, known: dict[str, tuple[int, str]]
) -> str | None:
    """Returns which size does not fit an expression (``2*d``) of sizes, None if all fit.

    Expressions that are not linear, or have several unknown sizes, the program checks itself.
    ``known`` is as in ``_wrong_sizes``.
    """
    for axis, (size, found) in enumerate(zip(partial.sizes, aval.shape, strict=True)):
        if isinstance(size, int) or size == UNKNOWN or size.isidentifier():
            continue
        values = {one: value for one, (value, _) in known.items()}
        expected = value_of(size, values)
        if expected is not None and expected != found:
            by = ", ".join(f"{one} is {known[one][0]} by {known[one][1]}" for one in names_in(size))
            return f"dimension {axis} ({size}) is {found}, and has to be {expected}: {by}"
        unknown = [one for one in names_in(size) if one not in known]
        if len(unknown) != 1:
            continue
        with suppress(ValueError):
            solution = solved_for(size, unknown[0], values, found)
            if solution is None:
                why = f"there is no whole number {unknown[0]} for that"
                return f"dimension {axis} ({size}) is {found}, and {why}"
            known[unknown[0]] = (solution, f"{name} {aval}")
    return None


def _wrong_sizes(
    partial: PartialAval, aval: Aval, name: str, known: dict[str, tuple[int, str]]
) -> Iterator[str]:
    """Yields how the sizes differ.

    ``known`` has the value of each named size, and the input it is from; new ones are added.
    """
    for axis, (size, found) in enumerate(zip(partial.sizes, aval.shape, strict=True)):
        if isinstance(size, int):
            if size != found:
                yield f"dimension {axis} is {found}, not {size}"
        elif size.isidentifier():  # expressions are checked by the program itself
            value, origin = known.setdefault(size, (found, f"{name} {aval}"))
            if value != found:
                yield f"dimension {axis} ({size}) is {found}, and {size} is {value} by {origin}"
