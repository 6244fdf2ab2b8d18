"""Transformations of every kind of program give JAX's own numbers, under names one would expect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.compiler.transforms.table import TRANSFORMATIONS, help_text, parse
from jaxfs.errors import Invalid, JaxfsError, NotSupported
from jaxfs.types.avals import parse_aval
from tests.compiler.conftest import BlockingTracer, Made, dumped
from tests.compiler.test_sources import exported

F32_3 = jax.ShapeDtypeStruct((3,), "float32")
W, X = np.array([0.1, -0.2, 0.3], np.float32), np.array([1, 2, 3], np.float32)
V = np.array([0.5, 1, -1], np.float32)
TYPES = [parse_aval("f32[3]")] * 2


def loss(w: Any, x: Any) -> Any:
    return jnp.tanh(w * x).sum()


def vector(w: Any, x: Any) -> Any:
    return {"y": jnp.sin(w) * x, "z": w[0] * x[1]}


def with_aux(w: Any, x: Any) -> Any:
    return jnp.tanh(w * x).sum(), {"twice": 2 * w}


KINDS: dict[str, Callable[[Any], Any]] = {
    "stablehlo": lambda f: jax.jit(f).lower(F32_3, F32_3).as_text(debug_info=True),
    "jax_export": lambda f: exported(f, F32_3, F32_3),
    "pickle": lambda f: dumped((f, F32_3, F32_3)),
    "untyped": dumped,
}


def made(tracer: BlockingTracer, kind: str, function: Any, steps: str, types: Any = None) -> Made:
    wanted = types if types is not None else TYPES
    given = wanted if kind == "untyped" or types is not None else None
    return tracer.made(KINDS[kind](function), steps=steps.split("/"), types=given)


def same(found: Any, expected: Any) -> None:
    leaves = jax.tree.leaves(expected)
    assert len(found) == len(leaves)
    for ours, theirs in zip(found, leaves, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


# a path, JAX's own function, and the names of what comes out
SCALAR: dict[str, tuple[Callable[..., Any], str]] = {
    "grad": (jax.grad(loss), "d_w f32[3]"),
    "grad:argnums=1": (jax.grad(loss, argnums=1), "d_x f32[3]"),
    "grad:argnums=1,-2": (jax.grad(loss, argnums=(1, 0)), "d_x f32[3] d_w f32[3]"),
    "value_and_grad": (jax.value_and_grad(loss), "result f32[] d_w f32[3]"),
    "jit": (loss, "result f32[]"),
    "checkpoint": (loss, "result f32[]"),
    "grad/checkpoint": (jax.grad(loss), "d_w f32[3]"),
    "jacrev": (jax.jacrev(loss), "d_w f32[3]"),
    "jacfwd/grad": (jax.jacfwd(jax.grad(loss)), "d_w_d_w f32[3,3]"),
    "hessian": (jax.hessian(loss), "d_w_d_w f32[3,3]"),
    "hessian:argnums=0,1": (
        jax.hessian(loss, argnums=(0, 1)),
        "d_w_d_w f32[3,3] d_w_d_x f32[3,3] d_x_d_w f32[3,3] d_x_d_x f32[3,3]",
    ),
}


def outputs(found: Made) -> str:
    lines = [line.split() for line in found.signature.splitlines() if line.startswith("out ")]
    return " ".join(" ".join(words[2:]) for words in lines)


@pytest.mark.parametrize("steps", SCALAR)
@pytest.mark.parametrize("kind", ["jax_export", "pickle"])
def test_scalar_programs_are_derived_as_by_jax(
    tracer: BlockingTracer, kind: str, steps: str
) -> None:
    function, names = SCALAR[steps]
    found = made(tracer, kind, loss, steps)
    assert outputs(found) == names
    same(found(W, X), function(W, X))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_program_is_differentiated(tracer: BlockingTracer, kind: str) -> None:
    found = made(tracer, kind, loss, "grad")
    assert found.signature == "in 0 w f32[3]\nin 1 x f32[3]\nout 0 d_w f32[3]\n"
    same(found(W, X), jax.grad(loss)(W, X))


@pytest.mark.parametrize("kind", KINDS)
def test_jacobian_of_several_results_is_named_by_result_and_input(
    tracer: BlockingTracer, kind: str
) -> None:
    found = made(tracer, kind, vector, "jacfwd:argnums=0,1")
    assert outputs(found) == ("d_y_d_w f32[3,3] d_y_d_x f32[3,3] d_z_d_w f32[3] d_z_d_x f32[3]")
    same(found(W, X), jax.jacfwd(vector, argnums=(0, 1))(W, X))


@pytest.mark.parametrize("kind", KINDS)
def test_has_aux_passes_the_rest_on(tracer: BlockingTracer, kind: str) -> None:
    found = made(tracer, kind, with_aux, "value_and_grad:has_aux=1")
    value, gradient = jax.value_and_grad(with_aux, has_aux=True)(W, X)
    same(found(W, X), [value[0], gradient, value[1]["twice"]])
    assert outputs(found).split()[:4] == ["result", "f32[]", "d_w", "f32[3]"]


@pytest.mark.parametrize("name", ["jvp", "linearize"])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_mode_takes_inputs_then_tangents(
    tracer: BlockingTracer, kind: str, name: str
) -> None:
    found = made(tracer, kind, vector, name, TYPES * 2)
    assert [line.split()[2] for line in found.signature.splitlines()] == (
        ["w", "x", "tangent_w", "tangent_x", "y", "z", "tangent_y", "tangent_z"]
    )
    same(found(W, X, V, X), jax.jvp(vector, (W, X), (V, X)))


@pytest.mark.parametrize("kind", KINDS)
def test_vjp_takes_inputs_then_cotangents(tracer: BlockingTracer, kind: str) -> None:
    types = [*TYPES, *map(parse_aval, ("f32[3]", "f32[]"))] if kind == "untyped" else None
    found = made(tracer, kind, vector, "vjp", types)
    assert outputs(found) == "y f32[3] z f32[] d_w f32[3] d_x f32[3]"
    results, pull = jax.vjp(vector, W, X)
    cotangent = np.float32(2)
    same(found(W, X, V, cotangent), (results, pull({"y": V, "z": cotangent})))


def test_integers_have_no_tangents(tracer: BlockingTracer) -> None:
    def scaled(n: Any, x: Any) -> Any:
        return n * x, n

    source = dumped((scaled, jax.ShapeDtypeStruct((), "int32"), F32_3))
    found = tracer.made(source, steps=["jvp"])
    assert found.signature == (
        "in 0 n i32[]\nin 1 x f32[3]\nin 2 tangent_x f32[3]\n"
        "out 0 result.0 f32[3]\nout 1 result.1 i32[]\nout 2 tangent_result.0 f32[3]\n"
    )
    same(found(2, X, V), [2 * X, np.int32(2), 2 * V])
    pulled = tracer.made(source, steps=["vjp"])
    assert outputs(pulled) == "result.0 f32[3] result.1 i32[] d_x f32[3]"
    same(pulled(2, X, V), [2 * X, np.int32(2), 2 * V])


@pytest.mark.parametrize("kind", KINDS)
def test_batch_size_comes_with_the_call(tracer: BlockingTracer, kind: str) -> None:
    source, steps = KINDS[kind](loss), ["vmap:in_axes=_,0", "grad"]
    answer = tracer.untyped(source, steps=steps)
    assert answer.parameters == ("w", "x")
    assert "axis_size" in answer.reason
    found = tracer.made(source, steps=steps, types=[TYPES[0], parse_aval("f32[5,3]")])
    batch = np.linspace(0, 1, 15, dtype=np.float32).reshape(5, 3)
    same(found(W, batch), jax.vmap(jax.grad(loss), in_axes=(None, 0))(W, batch))


@pytest.mark.parametrize("step", ["vmap:axis_size=4", "pmap:devices=4"])
def test_batch_size_may_be_in_the_path(tracer: BlockingTracer, step: str) -> None:
    found = made(tracer, "pickle", vector, f"{step}:in_axes=1:out_axes=1,0")
    assert found.signature == (
        "in 0 w f32[3,4]\nin 1 x f32[3,4]\nout 0 y f32[3,4]\nout 1 z f32[4]\n"
    )


def test_steps_compose_to_any_depth(tracer: BlockingTracer) -> None:
    steps = "vmap:axis_size=2/jacfwd:argnums=1/vmap:in_axes=0,_:axis_size=2/grad/jit/checkpoint"
    found = made(tracer, "stablehlo", loss, steps)
    assert outputs(found) == "d_w_d_x f32[2,2,3,3]"
    inner = jax.vmap(jax.grad(loss), in_axes=(0, None))
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 2, 3)
    x = np.stack([X, V])
    same(found(w, x), jax.vmap(jax.jacfwd(inner, argnums=1))(w, x))


def test_pytrees_stay_one_argument(tracer: BlockingTracer) -> None:
    def net(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["w"][0] + params["b"]).sum()

    w, b = np.ones((3, 2), "f4"), np.ones(2, "f4")
    params = {"w": [w], "b": b}
    for source in (dumped((net, params, X)), exported(net, params, F32_3)):
        found = tracer.made(source, steps=["grad"])
        assert found.signature == (
            "in 0 params.b f32[2]\nin 1 params.w.0 f32[3,2]\nin 2 x f32[3]\n"
            "out 0 d_params.b f32[2]\nout 1 d_params.w.0 f32[3,2]\n"
        )
        same(found(b, w, X), jax.grad(net)(params, X))
        by_x = tracer.made(source, steps=["grad:argnums=1"])
        same(by_x(b, w, X), jax.grad(net, argnums=1)(params, X))


def test_donation_shows_in_the_signature(tracer: BlockingTracer) -> None:
    found = made(tracer, "pickle", loss, "jit:donate_argnums=1")
    assert found.signature.splitlines()[:2] == ["in 0 w f32[3]", "in 1 x f32[3] donated"]


def test_derivatives_keep_64_bits(tracer: BlockingTracer) -> None:
    wide = "func.func @main(%x: tensor<f64>) -> tensor<f64> {\n"
    body = "  %y = stablehlo.sine %x : tensor<f64>\n  return %y : tensor<f64>\n}"
    found = tracer.made(wide + body, steps=["grad"])
    assert outputs(found) == "d_x f64[]"
    (slope,) = found(1.0)
    assert abs(slope - np.cos(1.0)) < 1e-15


# What cannot be


def integer(n: Any) -> Any:
    return n * 2


def branching(x: Any) -> Any:
    return x if x > 0 else -x


def endless(x: Any) -> Any:
    return jax.lax.while_loop(lambda v: v < 10, lambda v: v * 2, x)


SCALAR_F32 = jax.ShapeDtypeStruct((), "float32")
REFUSED: dict[str, tuple[Any, list[str], type[JaxfsError], str]] = {
    "vector": (
        (vector, F32_3, F32_3),
        ["grad"],
        NotSupported,
        r"one scalar result, and this one gives y f32\[3\], z f32\[\]; use jacrev or jacfwd",
    ),
    "integer": (
        (integer, jax.ShapeDtypeStruct((), "int32")),
        ["grad"],
        NotSupported,
        r"grad needs inputs of floating-point type, and this is n i32\[\]; .*grad:argnums=",
    ),
    "integer result": (
        (lambda x: x.astype(jnp.int32), SCALAR_F32),
        ["value_and_grad"],
        NotSupported,
        r"a result of floating-point type, and this is result i32",
    ),
    "no such argument": (
        (loss, F32_3, F32_3),
        ["grad:argnums=2"],
        Invalid,
        r"2 arguments \(w, x\)",
    ),
    "axes": ((loss, F32_3, F32_3), ["vmap:in_axes=0,0,0"], Invalid, "3 axes for 2 arguments"),
    "out axes": (
        (loss, F32_3, F32_3),
        ["vmap:axis_size=2:out_axes=0,0"],
        Invalid,
        "2 axes for 1 outputs",
    ),
    "no aux": ((loss, F32_3, F32_3), ["grad:has_aux=1"], Invalid, r"a tuple \(value, extra\)"),
    "unknown": ((loss, F32_3, F32_3), ["gard"], Invalid, "'gard'; did you mean grad"),
    "while": ((endless, SCALAR_F32), ["grad"], NotSupported, "loop .* no reverse mode; use jvp"),
    "no derivative": (
        (lambda x: jax.lax.igamma_grad_a(x, x), F32_3),
        ["jvp"],
        NotSupported,
        "without a derivative: igamma_grad_a",
    ),
    "python branch": ((branching, SCALAR_F32), ["grad"], Invalid, "TracerBoolConversionError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_transformation_gives_the_reason(tracer: BlockingTracer, name: str) -> None:
    value, steps, kind, words = REFUSED[name]
    types = None if "axis_size" in steps[0] or "vmap" not in steps[0] else TYPES
    with pytest.raises(kind, match=words):
        tracer.ask(dumped(value), steps=steps, types=types)


def test_batches_of_a_wrong_shape_name_the_input(tracer: BlockingTracer) -> None:
    types = [parse_aval("f32[5,3]"), parse_aval("f32[5,4]")]
    with pytest.raises(Invalid, match=r"takes x as f32\[3\]; .* would get f32\[4\]"):
        tracer.ask(KINDS["stablehlo"](loss), steps=["vmap"], types=types)
    types = [parse_aval("f32[5,3]"), parse_aval("f32[6,3]")]
    with pytest.raises(Invalid, match="inconsistent sizes"):
        tracer.ask(KINDS["pickle"](loss), steps=["vmap"], types=types)


# The table


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_help_shows_every_option(name: str) -> None:
    text = help_text(name)
    assert text.startswith(f"{name}: ")
    assert all(f":{option.name}=" in text for option in TRANSFORMATIONS[name].options)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("grad:argnums=0", "grad"),
        ("grad:argnums=1,0:has_aux=1", "grad:argnums=1,0:has_aux=1"),
        ("grad:has_aux=1:argnums=2", "grad:argnums=2:has_aux=1"),
        ("vmap:out_axes=0:in_axes=0,_", "vmap:in_axes=0,_"),
        ("checkpoint:prevent_cse=1", "checkpoint"),
    ],
)
def test_equal_steps_have_one_text(written: str, canonical: str) -> None:
    assert parse(written).canonical == canonical
    assert parse(canonical).values == parse(written).values


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("jackfwd", "did you mean jacfwd"),
        ("grad:argnum=0", "no option 'argnum'; did you mean argnums"),
        ("grad:argnums=x", "numbers of arguments .* was given 'x'"),
        ("grad:argnums=0,0", "each argument once"),
        ("grad:has_aux=yes", "takes 0 or 1"),
        ("vmap:in_axes=0;1", "axes with commas"),
        ("vmap:axis_size=0", "a number from 1"),
        ("vmap:axis_size=" + "9" * 20, "a number from 1"),
        ("jvp:argnums=0", "has no options"),
        ("grad:argnums=0:argnums=1", "twice"),
        ("grad:", "no option ''"),
    ],
)
def test_bad_steps_are_refused_with_advice(written: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        parse(written)


@jax.custom_vjp
def clipped(w: Any, n: Any) -> Any:
    """Returns a sum; its own derivative is another than that of what is computed."""
    return (w * n).sum(), n + 1


clipped.defvjp(
    lambda w, n: (clipped(w, n), n), lambda n, ct: (jnp.full(3, 7.0, jnp.float32) * ct[0], None)
)
INT32_3 = jax.ShapeDtypeStruct((3,), "int32")


def with_vjp(*args: Any) -> bytes:
    function = jax.jit(lambda w, n: clipped(w, n)[0])
    ready = jax.export.export(function, platforms=("cpu",))(*args)
    return bytes(ready.serialize(vjp_order=1))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("grad", [7, 7, 7]),
        ("jacrev", [7, 7, 7]),
        ("vmap:in_axes=0,_:axis_size=1/grad", [[7, 7, 7]]),
        ("jacfwd", [1, 2, 3]),  # the artifact has no forward derivative: that of what is computed
    ],
)
def test_artifact_with_a_vjp_has_its_own_derivative(
    tracer: BlockingTracer, steps: str, expected: Any
) -> None:
    found = tracer.made(with_vjp(F32_3, INT32_3), steps=steps.split("/"))
    w = W[None] if steps.startswith("vmap") else W
    (result,) = found(w, np.array([1, 2, 3], np.int32))
    np.testing.assert_allclose(result, expected)


def test_artifact_with_a_vjp_and_symbolic_sizes_has_its_own_derivative(
    tracer: BlockingTracer,
) -> None:
    (size,) = jax.export.symbolic_shape("n")

    @jax.custom_vjp
    def total(x: Any) -> Any:
        return x.sum()

    total.defvjp(lambda x: (total(x), x), lambda x, ct: (jnp.full_like(x, 7) * ct,))
    struct = jax.ShapeDtypeStruct((size,), "float32")
    ready = jax.export.export(jax.jit(total), platforms=("cpu",))(struct)
    found = tracer.made(
        bytes(ready.serialize(vjp_order=1)), steps=["grad"], types=[parse_aval("f32[4]")]
    )
    np.testing.assert_allclose(found(np.ones(4, np.float32))[0], [7] * 4)
