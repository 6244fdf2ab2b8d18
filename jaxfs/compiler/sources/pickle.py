"""Pickled Python functions -> traceables.

Unpickling runs the author's code, whatever it is: this module is used in a throw-away process only,
behind its sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from jaxfs.compiler.jobs.traceable import Traceable, parameter_names, struct
from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.sources.restricted_unpickler import HINT, unpickled
from jaxfs.errors import Invalid


def read_pickle(data: bytes, options: FunctionOptions) -> Traceable:
    """The function in a pickle, with its example arguments' types where it has some.

    Raises Invalid in the user's terms.
    """
    function, examples = _function_in(unpickled(data))
    names = parameter_names(function)
    if examples is None:
        if options.static_argnums:
            raise Invalid("static_argnums takes the values of examples; pickle (f, *examples)")
        _check_numbers(options.donate_argnums, len(names), "donate_argnums", "parameters")
        return Traceable(
            function,
            names,
            "pickle",
            platforms=options.platforms,
            donated=_positive(options.donate_argnums, len(names)),
        )
    names = tuple(names[i] if i < len(names) else f"arg{i}" for i in range(len(examples)))
    return _with_examples(function, names, examples, options)


def _function_in(value: Any) -> tuple[Callable[..., Any], tuple[Any, ...] | None]:
    if callable(value):
        return value, None
    if isinstance(value, tuple) and value and callable(value[0]):
        return value[0], value[1:]
    kind = type(value).__name__
    raise Invalid(f"the pickle holds a {kind}, which is not callable; {HINT}")


def _with_examples(
    function: Callable[..., Any],
    names: tuple[str, ...],
    examples: tuple[Any, ...],
    options: FunctionOptions,
) -> Traceable:
    count = len(examples)
    _check_numbers(options.static_argnums, count, "static_argnums", "example arguments")
    _check_numbers(options.donate_argnums, count, "donate_argnums", "example arguments")
    static = _positive(options.static_argnums, count)
    donated = _positive(options.donate_argnums, count)
    kept = [number for number in range(len(examples)) if number not in static]

    def call(*args: Any) -> Any:
        whole = list(examples)
        for number, arg in zip(kept, args, strict=True):
            whole[number] = arg
        return function(*whole)

    return Traceable(
        call if static else function,
        tuple(names[number] for number in kept),
        "pickle",
        args=tuple(_types(names[number], examples[number]) for number in kept),
        platforms=options.platforms,
        donated=tuple(place for place, number in enumerate(kept) if number in donated),
    )


def _check_numbers(numbers: tuple[int, ...], count: int, option: str, what: str) -> None:
    for number in numbers:
        if not -count <= number < count:
            raise Invalid(f"{option} {number}: there are {count} {what}")


def _positive(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(number % count for number in numbers)


def _types(name: str, example: Any) -> Any:
    """The types of an example argument.  Raises Invalid for a leaf that is no array."""

    def type_of(leaf: Any) -> Any:
        if isinstance(leaf, bool | int | float | complex):
            return _scalar(leaf)
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
            raise Invalid(
                f"example argument {name} has the type {leaf.dtype}, which no file holds; take "
                "jax.random.key_data(key) and make the key with jax.random.wrap_key_data"
            )
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            return struct(leaf.shape, np.dtype(leaf.dtype))
        raise Invalid(
            f"example argument {name} holds a {type(leaf).__name__}, which is no array; name the "
            "argument in static_argnums, in the program's options file"
        )

    return tree_util.tree_map(type_of, example)


def _scalar(value: complex) -> Any:
    """A Python number has the type JAX gives it."""
    kinds = {bool: np.bool_, int: np.int32, float: np.float32, complex: np.complex64}
    return struct((), np.dtype(kinds[type(value)]))
