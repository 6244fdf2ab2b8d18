"""Bytes -> the Python object in a pickle.

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

from jax import tree_util

from jaxfs.compiler.jobs.user_errors import as_python_tells
from jaxfs.errors import Invalid

HINT = "write cloudpickle.dumps(f) or cloudpickle.dumps((f, *example_arguments))"
_SKELETON = ("cloudpickle.cloudpickle", "_make_skeleton_class")


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
        with as_python_tells():
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
