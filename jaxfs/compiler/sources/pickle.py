"""Loads pickled Python functions, with or without example arguments.

Unpickling runs arbitrary code of the author: this module is used only in the sandbox of a
throw-away process.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import tree_util

from jaxfs.compiler.sources.bytecode_version import make_code
from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.traceable import Traceable, parameter_names, shape_struct, takes_nothing
from jaxfs.compiler.user_errors import as_user_error
from jaxfs.errors import Invalid

HINT = "write cloudpickle.dumps(f) or cloudpickle.dumps((f, *example_arguments))"
# the types that JAX gives to Python numbers
_SCALARS = {bool: np.bool_, int: np.int32, float: np.float32, complex: np.complex64}
_BUILTIN_TYPE = ("cloudpickle.cloudpickle", "_builtin_type")
_SKELETON = ("cloudpickle.cloudpickle", "_make_skeleton_class")


def read_pickle(data: bytes, options: FunctionOptions) -> Traceable:
    """Returns the function in a pickle, with the types of its example arguments if it has some.

    Args:
        data: A pickle of a function or of a tuple ``(function, *example_arguments)``.
        options: The options of ``jax.jit`` that its user wrote.

    Raises:
        Invalid: The pickle is damaged, raises, holds something else, or ``options`` do not fit it.
    """
    function, examples = _function_in(unpickled(data))
    names = parameter_names(function)
    if examples is None and takes_nothing(function):
        examples = ()
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
    """Returns the function and its example arguments, None if there are none."""
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
    """Returns a function of the arguments that are not static, with the types of the examples."""
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
    """Checks the indices that an option has; negative ones count from the end.

    Raises:
        Invalid: One is out of range; the message has the number and ``what`` is counted.
    """
    for number in numbers:
        if not -count <= number < count:
            raise Invalid(f"{option} {number}: there are {count} {what}")


def _positive(numbers: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(number % count for number in numbers)


def _types(name: str, example: Any) -> Any:
    """Returns the types of an example argument, in its pytree.

    Raises:
        Invalid: A leaf is no array, or has an extended dtype, which no file holds.
    """
    with as_user_error():
        leaves, tree = tree_util.tree_flatten(example)
    types = [_type_of(name, leaf) for leaf in leaves]
    try:
        return tree_util.tree_unflatten(tree, types)
    except Exception:  # a class that looks at its fields; arrays it must take
        arrays = [
            leaf if isinstance(leaf, jax.Array) else type_
            for leaf, type_ in zip(leaves, types, strict=True)
        ]
    with as_user_error():
        return tree_util.tree_unflatten(tree, arrays)


def _type_of(name: str, leaf: Any) -> Any:
    if type(leaf) in _SCALARS:  # no isinstance: a numpy.float64 is a float, and has 64 bits
        return shape_struct((), np.dtype(_SCALARS[type(leaf)]))
    if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.extended):
        raise Invalid(
            f"example argument {name} has the type {leaf.dtype}, which no file holds; take "
            "jax.random.key_data(key) and make the key with jax.random.wrap_key_data"
        )
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return shape_struct(leaf.shape, np.dtype(leaf.dtype))
    kind = type(leaf)
    if _may_be_pytree(kind):
        raise Invalid(
            f"example argument {name} holds a {kind.__name__}, which is no pytree here: the call "
            "that registers a class is not in the pickle; give the class tree_flatten and "
            "tree_unflatten, make it a dataclass, or pass its parts; if it holds no arrays, name "
            "the argument in static_argnums, in the program's options file"
        )
    raise Invalid(
        f"example argument {name} holds a {kind.__name__}, which is no array; name the "
        "argument in static_argnums, in the program's options file"
    )


def _may_be_pytree(kind: type) -> bool:
    """Returns whether a class may hold arrays: it is a user's, and not one of plain values."""
    return kind.__module__ != "builtins" and not issubclass(kind, enum.Enum | str | int | bytes)


def unpickled(data: bytes) -> Any:
    """Returns the object in a pickle.

    Raises:
        Invalid: The pickle is damaged, needs a module that is missing, or its code raises.
    """
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
    """Remembers the classes that the pickle defines.

    A pytree class is registered with JAX by a call after its definition, which no pickle contains.
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
        if (module, name) == _BUILTIN_TYPE:
            return lambda kind: make_code if kind == "CodeType" else found(kind)
        if (module, name) != _SKELETON:
            return found

        def make_and_remember(*args: Any) -> type:
            made: type = found(*args)
            self._classes.append(made)
            return made

        return make_and_remember

    def register_pytrees(self) -> None:
        """Registers those that are like pytrees, as their author must have done."""
        for cls in self._classes:
            with suppress(ValueError):  # it is one already, as Equinox's modules are
                _register(cls)


def _register(cls: Any) -> None:
    if hasattr(cls, "tree_flatten") and hasattr(cls, "tree_unflatten"):
        tree_util.register_pytree_node_class(cls)
    elif dataclasses.is_dataclass(cls):
        fields = [field for field in dataclasses.fields(cls) if field.init]
        data_fields = [field.name for field in fields if not _is_static(field)]
        meta_fields = [field.name for field in fields if _is_static(field)]
        register: Any = tree_util.register_dataclass  # typed for instances only
        register(cls, data_fields, meta_fields)


def _is_static(field: Any) -> bool:
    """Returns whether JAX's or Flax's mark for fields that are no arrays is set."""
    return bool(field.metadata.get("static")) or field.metadata.get("pytree_node") is False
