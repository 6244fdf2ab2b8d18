"""Pickles with classes that look at their fields, of another Python, or without arguments."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.compiler.sources.bytecode_version import make_code
from jaxfs.errors import Invalid
from tests.compiler.conftest import BlockingTracer, dumped
from tests.compiler.test_sources import Leaf, exported


def _has_a_shape(value: Any) -> None:
    if not hasattr(value, "shape"):
        raise TypeError("an array, please")


def _is_an_array(value: Any) -> None:
    if not isinstance(value, jax.Array):
        raise TypeError("a JAX array, please")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class WithShape:
    a: Any

    def __post_init__(self) -> None:
        _has_a_shape(self.a)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class OfArrays:
    a: Any

    def __post_init__(self) -> None:
        _is_an_array(self.a)


@jax.tree_util.register_pytree_node_class
class Raising:
    def __init__(self) -> None:
        self.a = jnp.ones(3)

    def tree_flatten(self) -> Any:
        return (self.a,), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> Any:
        raise RuntimeError("not this way")


class Registered:
    """Registered by a call, which a pickle does not carry."""

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = low, high


@pytest.mark.parametrize("cls", [WithShape, OfArrays])
def test_classes_that_check_their_fields_are_arguments(tracer: BlockingTracer, cls: Any) -> None:
    source = dumped((lambda s, x: s.a + x, cls(jnp.ones(3)), jnp.ones(3)))
    made = tracer.made(source)
    assert made.signature.startswith("in 0 s.a f32[3]\nin 1 x f32[3]\n")
    assert made([1, 1, 1], [1, 2, 3])[0].tolist() == [2, 3, 4]


def test_exceptions_of_a_users_class_are_in_pythons_words(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match="RuntimeError: not this way"):
        tracer.ask(dumped((lambda s: s.a, Raising())))


def test_exceptions_of_a_class_under_a_transformation_are_too(tracer: BlockingTracer) -> None:
    source = dumped((lambda s: s.a, OfArrays(jnp.ones(3))))
    with pytest.raises(Invalid, match="TypeError: a JAX array, please"):
        tracer.ask(source, steps=("vmap",))


def test_class_registered_by_a_call_is_named(tracer: BlockingTracer) -> None:
    source = dumped((lambda p: p.high - p.low, Registered(jnp.zeros(2), jnp.ones(2))))
    with pytest.raises(Invalid, match=r"p holds a Registered, which is no pytree.*tree_flatten"):
        tracer.ask(source)


def test_functions_without_arguments_are_typed(tracer: BlockingTracer) -> None:
    assert tracer.made(dumped(lambda: jnp.arange(3)))()[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("function", [lambda *a: jnp.arange(3), lambda n=3: jnp.arange(n)])
def test_no_arguments_in_a_call_are_types(tracer: BlockingTracer, function: Any) -> None:
    tracer.untyped(dumped(function))
    assert tracer.made(dumped(function), types=())()[0].tolist() == [0, 1, 2]


def _parts(function: Any) -> list[Any]:
    c = function.__code__
    counts = [c.co_argcount, c.co_posonlyargcount, c.co_kwonlyargcount, c.co_nlocals]
    names = [c.co_consts, c.co_names, c.co_varnames, c.co_filename, c.co_name, c.co_qualname]
    ends = [c.co_firstlineno, c.co_linetable, c.co_exceptiontable, c.co_freevars, c.co_cellvars]
    return [*counts, c.co_stacksize, c.co_flags, c.co_code, *names, *ends]


def test_own_bytecode_is_taken() -> None:
    assert make_code(*_parts(_parts)) == _parts.__code__


@pytest.mark.parametrize(
    ("change", "writer"),
    [
        (lambda parts: parts[:16], "Python 3.10 or older"),
        (lambda parts: [*parts[:6], b"\x09\0" * 8, *parts[7:]], "another version of Python"),
        (lambda parts: [*parts[:6], parts[6] + b"\xff\0", *parts[7:]], "another version of Python"),
    ],
)
def test_bytecode_of_another_python_is_refused_with_both_versions(change: Any, writer: str) -> None:
    with pytest.raises(Invalid, match=f"written by {writer}, and jaxfs runs Python 3"):
        make_code(*change(_parts(_parts)))


@pytest.mark.parametrize(("impl", "words"), [("threefry2x32", 2), ("rbg", 4)])
def test_random_keys_of_an_export_are_their_words(
    tracer: BlockingTracer, impl: str, words: int
) -> None:
    def draw(key: Any, scale: Any) -> Any:
        use, following = jax.random.split(key)
        return jax.random.uniform(use, (3,)) * scale, following

    key = jax.random.key(7, impl=impl)
    made = tracer.made(exported(draw, key, Leaf((), "f4")))
    assert made.signature.startswith(f"in 0 key u32[{words}]\nin 1 scale f32[]\n")
    numbers, following = draw(key, 10)
    found = made(jax.random.key_data(key), 10)
    np.testing.assert_allclose(found[0], numbers, rtol=1e-6)
    np.testing.assert_array_equal(found[1], jax.random.key_data(following))
