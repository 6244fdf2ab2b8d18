"""Pickled functions become artifacts, and whatever else a pickle holds is refused in words."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import operator
import os
import pickle
import random
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.errors import AccessDenied, Invalid, JaxfsError
from jaxfs.types.avals import Aval, parse_aval
from tests.compiler.conftest import SAXPY, BlockingTracer, Made, dumped

Leaf = jax.ShapeDtypeStruct
F32_3 = Leaf((3,), "float32")
X = np.array([1, 2, 3], np.float32)


def types_of(*texts: str) -> list[Aval]:
    return [parse_aval(text) for text in texts]


def typed(tracer: BlockingTracer, value: Any, *texts: str, **options: str) -> Made:
    return tracer.made(dumped(value), types=types_of(*texts), options=options)


def saxpy(x: Any, y: Any, scale: float = 2.0) -> Any:
    return scale * x + y


def test_function_without_examples_is_untyped(tracer: BlockingTracer) -> None:
    answer = tracer.untyped(dumped(saxpy))
    assert (answer.source_format, answer.parameters) == ("pickle", ("x", "y"))
    found = typed(tracer, saxpy, "f32[3]", "f32[]")
    assert found.signature == "in 0 x f32[3]\nin 1 y f32[]\nout 0 result f32[3]\n"
    np.testing.assert_array_equal(found(X, 1)[0], 2 * X + 1)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_from_2_is_read(tracer: BlockingTracer, protocol: int) -> None:
    found = tracer.made(pickle.dumps((operator.neg, F32_3), protocol))
    assert found.signature == "in 0 a f32[3]\nout 0 result f32[3]\n"


def test_pickles_are_refused_where_they_are_not_taken(tracer: BlockingTracer) -> None:
    with pytest.raises(AccessDenied, match="pickled functions are not taken"):
        tracer.ask(dumped(saxpy), takes_pickles=False)


# Kinds of callables


@dataclasses.dataclass(frozen=True)
class Callable:
    weights: Any

    def __call__(self, x: Any) -> Any:
        return x * self.weights


class Holder:
    scale = 3.0

    def method(self, x: Any) -> Any:
        return x * self.scale


def tripling(x: Any) -> Any:
    return x * 3.0


derived = jax.custom_jvp(tripling)
derived.defjvp(lambda primals, tangents: (derived(*primals), 3 * tangents[0]))

CALLABLES: dict[str, Any] = {
    "function": tripling,
    "lambda": lambda x: x * 3.0,
    "partial": functools.partial(lambda scale, x: x * scale, 3.0),
    "partial with keywords": functools.partial(lambda x, scale: x * scale, scale=3.0),
    "jitted": jax.jit(tripling),
    "method": Holder().method,
    "object": Callable(jnp.full(3, 3.0, jnp.float32)),
    "custom_jvp": derived,
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_whatever_can_be_called_is_a_program(tracer: BlockingTracer, kind: str) -> None:
    found = typed(tracer, CALLABLES[kind], "f32[3]")
    assert found.signature == "in 0 x f32[3]\nout 0 result f32[3]\n"
    np.testing.assert_array_equal(found(X)[0], 3 * X)


def test_equinox_modules_are_programs_and_arguments(tracer: BlockingTracer) -> None:
    eqx = pytest.importorskip("equinox")
    mlp = eqx.nn.MLP(3, 2, 8, 1, key=jax.random.PRNGKey(0))
    found = typed(tracer, mlp, "f32[3]")
    np.testing.assert_allclose(found(X)[0], mlp(X), rtol=1e-5)
    linear = eqx.nn.Linear(3, 2, key=jax.random.PRNGKey(0))
    held = tracer.made(dumped((lambda model, x: model(x), linear, F32_3)))
    assert held.signature.startswith("in 0 model.weight f32[2,3]\nin 1 model.bias f32[2]\n")


def test_closures_are_constants_however_big(tracer: BlockingTracer) -> None:
    weights = np.arange(1 << 20, dtype=np.float32)
    for held in (weights, jnp.asarray(weights)):
        found = typed(tracer, lambda x, held=held: (held * x).sum(), "f32[]")
        assert len(found.artifact) > weights.nbytes
        assert found.signature == "in 0 x f32[]\nout 0 result f32[]\n"
        np.testing.assert_allclose(found(2)[0], 2 * weights.sum(dtype="f8"), rtol=1e-4)


# Example arguments


class Point(NamedTuple):
    x: Any
    y: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    w: Any
    b: Any
    kind: str = dataclasses.field(default="relu", metadata={"static": True})


@jax.tree_util.register_pytree_node_class
class Pair:
    def __init__(self, a: Any, b: Any) -> None:
        self.a, self.b = a, b

    def tree_flatten(self) -> Any:
        return (self.a, self.b), None

    @classmethod
    def tree_unflatten(cls, _: Any, children: Any) -> Any:
        return cls(*children)


def test_examples_may_be_any_pytrees(tracer: BlockingTracer) -> None:
    def model(params: Any, point: Any, layer: Any, pair: Any, nothing: Any, data: Any) -> Any:
        inner = getattr(jax.nn, layer.kind)(data @ params["w"][0] @ layer.w + layer.b)
        return {"y": inner * point.x + pair.a - pair.b, "n": point.y + 1}

    args = (
        {"w": [np.ones((3, 4), "f4")]},
        Point(jnp.float32(1), jnp.int32(2)),
        Layer(np.ones((4, 2), "f4"), np.zeros(2, "f4")),
        Pair(1.5, jnp.bfloat16(2)),
        None,
        F32_3,
    )
    found = tracer.made(dumped((model, *args)))
    assert found.signature == (
        "in 0 params.w.0 f32[3,4]\nin 1 point.x f32[]\nin 2 point.y i32[]\n"
        "in 3 layer.w f32[4,2]\nin 4 layer.b f32[2]\n"
        "in 5 pair.flat_index_0 f32[]\nin 6 pair.flat_index_1 bf16[]\nin 7 data f32[3]\n"
        "out 0 n i32[]\nout 1 y f32[2]\n"
    ).replace("flat_index_", "")


def test_registered_classes_may_come_up_only_inside(tracer: BlockingTracer) -> None:
    def scanned(x: Any) -> Any:
        step = lambda carry, _: (Layer(carry.w + x, carry.b * 2), None)  # noqa: E731 as users do
        return jax.lax.scan(step, Layer(x, x), length=3)[0].w

    found = typed(tracer, scanned, "f32[3]")
    np.testing.assert_array_equal(found(X)[0], 4 * X)


def test_types_of_a_call_may_differ_from_the_examples(tracer: BlockingTracer) -> None:
    found = typed(tracer, (saxpy, F32_3, F32_3), "f32[5]", "f32[]")
    assert found.signature == "in 0 x f32[5]\nin 1 y f32[]\nout 0 result f32[5]\n"
    with pytest.raises(Invalid, match=r"expected 2 inputs \(x, y\), got 1"):
        typed(tracer, (saxpy, F32_3, F32_3), "f32[5]")


def test_example_scalars_of_numpy_keep_their_type(tracer: BlockingTracer) -> None:
    found = tracer.made(dumped((saxpy, np.float64(1), np.float32(2))))
    assert found.signature.startswith("in 0 x f64[]\nin 1 y f32[]\n")


def test_constants_keep_the_width_that_they_have_without_x64(tracer: BlockingTracer) -> None:
    def mixed(x: Any) -> Any:
        return x * 2.0 + jnp.arange(3) + jnp.zeros(3), jnp.arange(3), x.sum()

    assert typed(tracer, mixed, "f32[3]").signature.count("f32[") == 3
    wide = typed(tracer, mixed, "f64[3]")
    assert [str(aval) for aval in wide.traced.signature.output_avals] == [
        "f64[3]",
        "i64[3]",
        "f64[]",
    ]
    forced = typed(tracer, mixed, "f32[3]", enable_x64="1")
    assert "out 1 result.1 i64[3]" in forced.signature
    examples = tracer.made(dumped((mixed, np.ones(3))))
    assert examples.signature.startswith("in 0 x f64[3]")


# Options


def test_static_arguments_have_the_values_of_the_examples(tracer: BlockingTracer) -> None:
    def power(x: Any, n: int, mode: str) -> Any:
        return getattr(jnp, mode)(x**n)

    source = dumped((power, F32_3, 3, "sum"))
    found = tracer.made(source, options={"static_argnums": "1, -1", "donate_argnums": "0"})
    assert found.signature == "in 0 x f32[3] donated\nout 0 result f32[]\n"
    np.testing.assert_allclose(found(X)[0], 36)
    with pytest.raises(Invalid, match=r"mode holds a str, .* static_argnums"):
        tracer.ask(source)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"static_argnums": "5"}, "static_argnums 5: there are 2 example arguments"),
        ({"donate_argnums": "x"}, "option donate_argnums takes numbers of arguments"),
        ({"static_argnum": "1"}, "no option 'static_argnum'; did you mean static_argnums"),
        ({"platforms": "cuda tpu"}, "platforms is cuda tpu, and the device is cpu"),
        ({"enable_x64": "yes"}, "takes 0 or 1"),
    ],
)
def test_bad_options_are_refused(
    tracer: BlockingTracer, options: dict[str, str], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        tracer.ask(dumped((saxpy, F32_3, F32_3)), options=options)


def test_static_arguments_need_examples(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match="takes the values of examples"):
        tracer.ask(dumped(saxpy), options={"static_argnums": "1"})


# Errors of the function


MODEL = """
import jax, jax.numpy as jnp

def layer(w, x):
    return x @ w

def loss(w, x):
    y = layer(w, x)
    return y.sum()

def branch(w, x):
    if x.sum() > 0:
        return x
    return -x

def python(w, x):
    return {}["missing"]

def leave(w, x):
    raise SystemExit(3)

def forever(w, x):
    return forever(w, x)

def words(w, x):
    return "text"

def scanned(w, x):
    return jax.lax.scan(lambda c, _: (layer(w, c), None), x, length=2)[0]
"""


def users(name: str) -> Any:
    """A function of a module whose source is nowhere to be found."""
    module = types.ModuleType("users_model")
    exec(compile(MODEL, "/home/user/model.py", "exec"), module.__dict__)
    return getattr(module, name)


FAILING: dict[str, tuple[str, list[str]]] = {
    "loss": ("TypeError: dot_general requires contracting dimensions .*line 5", ["loss", "layer"]),
    "branch": (
        r"TracerBoolConversionError: .* the argument x; use jnp.where .* \(line 12\)",
        ["branch"],
    ),
    "python": (r"KeyError: 'missing' \(line 17\)", ["python"]),
    "leave": (r"SystemExit: 3 \(line 20\)", ["leave"]),
    "forever": ("RecursionError: the function calls itself", ["forever"]),
    "words": ("TypeError: the function returned a value of type <class 'str'>", []),
    "scanned": ("TypeError: dot_general", ["scanned", "layer"]),
}


@pytest.mark.parametrize("name", FAILING)
def test_python_errors_have_the_users_lines_only(tracer: BlockingTracer, name: str) -> None:
    words, frames = FAILING[name]
    with pytest.raises(Invalid, match=words) as caught:
        typed(tracer, users(name), "f32[3,2]", "f32[4]")
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 700
    lines = [line for line in caught.value.diagnostics.splitlines() if line.startswith("  File ")]
    assert all(line.startswith('  File "/home/user/model.py", line ') for line in lines)
    assert all(any(line.endswith(f"in {frame}") for line in lines) for frame in frames)
    assert len(lines) < 50
    assert "https://" not in caught.value.reason
    assert "jaxfs" not in caught.value.text()


# What is no pickled function


class Bomb:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def missing_module() -> bytes:
    return b"\x80\x04cno_such_package.inner\nthing\n."


REFUSED: dict[str, tuple[bytes, str]] = {
    "list": (pickle.dumps([1, 2]), "the pickle holds a list, which is not callable"),
    "array": (pickle.dumps(np.ones(3)), "holds a ndarray, which is not callable"),
    "empty tuple": (pickle.dumps(()), "holds a tuple"),
    "uncallable tuple": (pickle.dumps((1, 2)), "holds a tuple"),
    "missing module": (missing_module(), "module 'no_such_package', .*register_pickle_by"),
    "main": (b"\x80\x04c__main__\nmodel\n.", r"holds only the name __main__\.model"),
    "newer protocol": (b"\x80\x63\x95\x00", "has protocol 99, newer than"),
    "header only": (b"\x80\x04", "not a whole pickle"),
    "raising": (pickle.dumps(Bomb(int, "x")), "ValueError: invalid literal for int"),
    "exiting": (pickle.dumps(Bomb(exit, 3)), "SystemExit"),
    "ending": (pickle.dumps(Bomb(os._exit, 0)), "exit code 0"),
    "aborting": (pickle.dumps(Bomb(os.abort)), "SIGABRT"),
    "text argument": (pickle.dumps((operator.neg, "x")), "example argument a holds a str"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_pickles_are_refused_with_a_reason(tracer: BlockingTracer, name: str) -> None:
    source, words = REFUSED[name]
    with pytest.raises(JaxfsError, match=words):
        tracer.ask(source)
    assert tracer.trace(SAXPY)[0].signature.inputs  # and the next is served


def test_keys_of_random_numbers_are_no_arrays(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match=r"key.* which no file holds"):
        tracer.ask(dumped((jax.random.normal, jax.random.key(0))))


def test_the_zygote_stays_fit_to_fork(tracer: BlockingTracer) -> None:
    typed(tracer, CALLABLES["object"], "f32[3]")  # which has arrays, and so starts a backend
    assert len(os.listdir(f"/proc/{tracer.client.pid}/task")) == 1


def test_damaged_pickles_are_refused(tracer: BlockingTracer) -> None:
    whole = dumped((lambda params, x: x @ params["w"], {"w": np.ones((3, 2), "f4")}, F32_3))
    chance = random.Random(0)
    for _ in range(25):
        with pytest.raises(JaxfsError):
            tracer.ask(whole[: chance.randrange(2, len(whole))])
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[chance.randrange(2, len(whole))] ^= 1 << chance.randrange(8)
        with contextlib.suppress(JaxfsError):  # it may still be a program
            tracer.ask(bytes(damaged))
    assert tracer.made(whole).signature.startswith("in 0 params.w f32[3,2]\n")
