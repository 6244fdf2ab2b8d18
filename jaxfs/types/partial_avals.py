"""Types of which not all is known before the call: ``f32[?,3]``, ``f32[b,2*b]``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from jaxfs.errors import Invalid
from jaxfs.types.avals import BY_SHORT, Aval, DType

UNKNOWN = "?"


class PartialAval(msgspec.Struct, frozen=True, array_like=True):
    """A type whose sizes may be words: ``?``, or what jax.export calls them (``b``, ``2*b``)."""

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
        """The same as an aval, None where a size is a word."""
        numbers = tuple(size for size in self.sizes if isinstance(size, int))
        return Aval(self.dtype, numbers) if len(numbers) == len(self.sizes) else None


KnownAval = PartialAval | None  # what is known of an input: its type but for sizes, or nothing


def of_aval(aval: Aval) -> PartialAval:
    return PartialAval(aval.dtype, aval.shape)


def check_types(names: Sequence[str], wanted: Sequence[KnownAval], types: Sequence[Aval]) -> None:
    """Raise Invalid naming the input, or the size, that does not fit.

    Where nothing is known of an input, it may also stand for several.
    """
    if None not in wanted and len(wanted) != len(types):
        listed = ", ".join(map(str, wanted))
        raise Invalid(f"expected {len(wanted)} inputs ({listed}), got {len(types)}")
    sizes: dict[str, tuple[int, str]] = {}
    for number, (shaped, aval) in enumerate(zip(wanted, types, strict=False)):
        if shaped is None:
            return
        name = names[number] or f"input {number}"
        if shaped.dtype != aval.dtype or len(shaped.sizes) != len(aval.shape):
            raise Invalid(f"{name} is {shaped}, got {aval}")
        for wrong in _wrong_sizes(shaped, aval, name, sizes):
            raise Invalid(f"{name} is {shaped}, got {aval}: {wrong}")


def _wrong_sizes(
    shaped: PartialAval, aval: Aval, name: str, known: dict[str, tuple[int, str]]
) -> Iterator[str]:
    """``known`` collects what each size's name stands for, and which input told it."""
    for axis, (size, found) in enumerate(zip(shaped.sizes, aval.shape, strict=True)):
        if isinstance(size, int):
            if size != found:
                yield f"dimension {axis} is {found}, not {size}"
        elif size.isidentifier():  # expressions are checked by the program itself
            value, teller = known.setdefault(size, (found, f"{name} {aval}"))
            if value != found:
                yield f"dimension {axis} ({size}) is {found}, and {size} is {value} by {teller}"
