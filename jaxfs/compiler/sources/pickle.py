"""Pickled Python functions -> traceables.

Unpickling runs the author's code, whatever it is: this module is used in a throw-away process only,
behind its sandbox.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.traceable import Traceable, parameter_names, shape_struct
from jaxfs.compiler.user_errors import as_user_error
from jaxfs.errors import Invalid

HINT = "write cloudpickle.dumps(f) or cloudpickle.dumps((f, *example_arguments))"
_SKELETON = ("cloudpickle.cloudpickle", "_make_skeleton_class")


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
            return shape_struct(leaf.shape, np.dtype(leaf.dtype))
        raise Invalid(
            f"example argument {name} holds a {type(leaf).__name__}, which is no array; name the "
            "argument in static_argnums, in the program's options file"
        )

    return tree_util.tree_map(type_of, example)


def _scalar(value: complex) -> Any:
    """A Python number has the type JAX gives it."""
    kinds = {bool: np.bool_, int: np.int32, float: np.float32, complex: np.complex64}
    return shape_struct((), np.dtype(kinds[type(value)]))


def unpickled(data: bytes) -> Any:
    """The object.  Raises Invalid in the author's terms."""
    if data[1] > pickle.HIGHEST_PROTOCOL:
        raise Invalid(
            f"the pickle has protocol {data[1]}, newer than this Python's {pickle.HIGHEST_PROTOCOL}"
        )
    unpickler = _Unpickler(io.BytesIO(data))
    try:
        value = unpickler.load()
    except ModuleNotFoundError as error:
        raise _missing(error.name or str(error)) from None
    except (pickle.UnpicklingError, EOFError) as error:
        raise Invalid(f"not a whole pickle: {error}; {HINT}") from None
    except BaseException:
        with as_user_error():
            raise
    unpickler.register_pytrees()
    return value


def _missing(module: str) -> Invalid:
    root = module.partition(".")[0]
    return Invalid(
        f"the pickle needs the Python module {module!r}, which is not installed where jaxfs runs; "
        f"install it there, or pickle it along: cloudpickle.register_pickle_by_value({root})"
    )


class _Unpickler(pickle.Unpickler):
    """Notes the classes that come in the pickle itself.

    A pytree class is registered with JAX where its author defined it; the pickle does not say so.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._classes: list[type] = []

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__":  # which is our own here
            raise Invalid(
                f"the pickle holds only the name {module}.{name}; plain pickle does that: {HINT}"
            )
        found = super().find_class(module, name)
        return self._noting(found) if (module, name) == _SKELETON else found

    def _noting(self, make: Callable[..., type]) -> Callable[..., type]:
        def make_and_note(*args: Any) -> type:
            made = make(*args)
            self._classes.append(made)
            return made

        return make_and_note

    def register_pytrees(self) -> None:
        """Make pytrees of those that are like pytrees, as their author will have done."""
        for cls in self._classes:
            with suppress(ValueError):  # it is one already: an Equinox module, say
                _register(cls)


def _register(cls: Any) -> None:
    if hasattr(cls, "tree_flatten") and hasattr(cls, "tree_unflatten"):
        tree_util.register_pytree_node_class(cls)
    elif dataclasses.is_dataclass(cls):
        fields = [field for field in dataclasses.fields(cls) if field.init]
        data = [field.name for field in fields if not _is_static(field)]
        meta = [field.name for field in fields if _is_static(field)]
        register: Any = tree_util.register_dataclass  # typed for instances only
        register(cls, data, meta)


def _is_static(field: Any) -> bool:
    """As JAX and Flax mark the fields that are no arrays."""
    return bool(field.metadata.get("static")) or field.metadata.get("pytree_node") is False
