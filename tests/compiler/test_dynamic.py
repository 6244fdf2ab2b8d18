"""Programs whose sizes come with the call: symbolic ones of jax.export, `?` of StableHLO."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from jaxfs.errors import Invalid
from jaxfs.types.avals import Aval, parse_aval
from tests.compiler.conftest import SAXPY, BlockingTracer
from tests.compiler.test_sources import bytecode, exported, portable

DYNAMIC = """func.func @main(%x: tensor<?x4xf32>, %y: tensor<?xf32>) -> tensor<?x4xf32> {
  %n = stablehlo.get_dimension_size %x, dim = 0 : (tensor<?x4xf32>) -> tensor<i32>
  %n1 = stablehlo.reshape %n : (tensor<i32>) -> tensor<1xi32>
  %four = stablehlo.constant dense<4> : tensor<1xi32>
  %shape = stablehlo.concatenate %n1, %four, dim = 0
      : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
  %b = stablehlo.dynamic_broadcast_in_dim %y, %shape, dims = [0]
      : (tensor<?xf32>, tensor<2xi32>) -> tensor<?x4xf32>
  %r = stablehlo.multiply %x, %b : tensor<?x4xf32>
  return %r : tensor<?x4xf32>
}
"""


def types_of(*texts: str) -> list[Aval]:
    return [parse_aval(text) for text in texts]


def model(params: Any, x: Any, unused: Any) -> Any:
    y = jnp.cumsum(x @ params["w"], axis=0)
    return {"y": y, "twice": jnp.concatenate([x, x]), "mean": x.sum() / x.shape[0]}


def symbolic(platforms: tuple[str, ...] = ("cpu",)) -> bytes:
    scope = export.SymbolicScope(["b>=2"])
    args = (
        {"w": jax.ShapeDtypeStruct((4, 3), "float32")},
        jax.ShapeDtypeStruct(export.symbolic_shape("b, 4", scope=scope), "float32"),
        jax.ShapeDtypeStruct(export.symbolic_shape("b", scope=scope), "int32"),
    )
    return exported(model, *args, platforms=platforms)


W = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
CALL = types_of("f32[4,3]", "f32[5,4]", "i32[5]")


@pytest.mark.parametrize("make", [str, bytecode, portable])
def test_question_marks_are_untyped_until_the_call(tracer: BlockingTracer, make: Any) -> None:
    source = make(DYNAMIC)
    answer = tracer.untyped(source)
    assert answer.parameters == (("x", "y") if make is str else ("arg0", "arg1"))
    assert f"{answer.parameters[0]} f32[?,4]" in answer.reason
    for rows in (1, 3):
        found = tracer.made(source, types=types_of(f"f32[{rows},4]", f"f32[{rows}]"))
        assert b"?" not in found.text
        assert b"dynamic" not in found.text
        assert f"out 0 f32[{rows},4]" in found.signature
        x, y = np.ones((rows, 4), "f4"), np.arange(rows, dtype="f4")
        np.testing.assert_array_equal(found(x, y)[0], x * y[:, None])


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "cpu")])
def test_symbolic_sizes_are_untyped_until_the_call(
    tracer: BlockingTracer, platforms: tuple[str, ...]
) -> None:
    source = symbolic(platforms)
    answer = tracer.untyped(source)
    assert answer.source_format == "jax_export"
    assert answer.parameters == ("params.w", "x", "unused")
    assert "x f32[b,4]" in answer.reason
    found = tracer.made(source, types=CALL)
    assert found.traced.platforms == platforms
    assert found.signature == (
        "in 0 params.w f32[4,3]\nin 1 x f32[5,4]\nin 2 unused i32[5]\n"
        "out 0 mean f32[]\nout 1 twice f32[10,4]\nout 2 y f32[5,3]\n"
    )
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    expected = model({"w": W}, x, None)
    for ours, theirs in zip(found(W, x, np.zeros(5)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("types", "words"),
    [
        (("f32[4,3]", "f32[5,4]", "i32[6]"), r"unused is i32\[b\].*is 6, and b is 5 by x f32\[5,4"),
        (("f32[4,3]", "f32[5,3]", "i32[5]"), r"x is f32\[b,4\], .* dimension 1 is 3, not 4"),
        (("f32[4,3]", "i32[5,4]", "i32[5]"), r"x is f32\[b,4\], got i32\[5,4\]"),
        (("f32[4,3]", "f32[4]", "i32[5]"), r"x is f32\[b,4\], got f32\[4\]"),
        (("f32[4,3]", "f32[5,4]"), "expected 3 inputs"),
        (("f32[4,3]", "f32[1,4]", "i32[1]"), "does not take these sizes: .*b>=2"),
    ],
)
def test_sizes_that_do_not_fit_are_named(
    tracer: BlockingTracer, types: tuple[str, ...], words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        tracer.ask(symbolic(), types=types_of(*types))


def test_question_marks_that_do_not_fit_are_refused(tracer: BlockingTracer) -> None:
    with pytest.raises(Invalid, match=r"does not take these sizes: .*dimension"):
        tracer.ask(DYNAMIC, types=types_of("f32[3,4]", "f32[5]"))
    with pytest.raises(Invalid, match=r"x is f32\[\?,4\], got f32\[3,5\]: dimension 1 is 5, not 4"):
        tracer.ask(DYNAMIC, types=types_of("f32[3,5]", "f32[3]"))


def test_expressions_of_sizes_are_checked(tracer: BlockingTracer) -> None:
    n = export.symbolic_shape("2*n, n+1")
    source = exported(lambda x: x * 2, jax.ShapeDtypeStruct(n, "float32"))
    assert tracer.made(source, types=types_of("f32[6,4]")).signature.endswith("f32[6,4]\n")
    with pytest.raises(Invalid, match=r"dimension 1 \(n\+1\) is 5, and has to be 4: n is 3 by x"):
        tracer.ask(source, types=types_of("f32[6,5]"))
    with pytest.raises(Invalid, match=r"dimension 0 \(2\*n\) is 5, and there is no whole number n"):
        tracer.ask(source, types=types_of("f32[5,4]"))


def test_expressions_are_checked_before_the_body_runs(tracer: BlockingTracer) -> None:
    sizes = export.symbolic_shape("b, 2*d, d", constraints=["b >= 2"])
    source = exported(
        lambda x, y: x.reshape(x.shape[0], 2, -1).sum(1) + y,
        jax.ShapeDtypeStruct(sizes[:2], "float32"),
        jax.ShapeDtypeStruct(sizes[2:], "float32"),
    )
    words = (
        r"x is f32\[b,2\*d\], got f32\[2,3\]: dimension 1 \(2\*d\) is 3, and has to be 4: d is 2"
    )
    with pytest.raises(Invalid, match=words):
        tracer.ask(source, types=types_of("f32[2,3]", "f32[2]"))


def test_typed_programs_take_their_own_types_only(tracer: BlockingTracer) -> None:
    whole = types_of("f32[16]", "f32[16]")
    assert tracer.made(SAXPY, types=whole).artifact == tracer.made(SAXPY).artifact
    with pytest.raises(Invalid, match=r"y is f32\[16\], got f32\[8\]: dimension 0 is 8, not 16"):
        tracer.ask(SAXPY, types=types_of("f32[16]", "f32[8]"))


def test_dynamic_programs_are_transformed(tracer: BlockingTracer) -> None:
    def loss(params: Any, x: Any) -> Any:
        return jnp.tanh(x @ params["w"]).sum()

    x = jax.ShapeDtypeStruct(export.symbolic_shape("b, 4"), "float32")
    source = exported(loss, {"w": jax.ShapeDtypeStruct((4, 3), "float32")}, x)
    assert tracer.untyped(source, steps=["grad"]).parameters == ("params.w", "x")
    found = tracer.made(source, steps=["grad"], types=types_of("f32[4,3]", "f32[5,4]"))
    assert found.signature.endswith("out 0 d_params.w f32[4,3]\n")
    data = np.arange(20, dtype=np.float32).reshape(5, 4) / 20
    expected = jax.grad(loss)({"w": W}, data)["w"]
    np.testing.assert_allclose(found(W, data)[0], expected, rtol=1e-5)
    batched = tracer.made(
        source, steps=["vmap:in_axes=_,0", "grad"], types=types_of("f32[4,3]", "f32[2,5,4]")
    )
    assert batched.signature.endswith("out 0 d_params.w f32[2,4,3]\n")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), "params.w f32[4,3], x f32[b,4], unused i32[b]"),
        (("vmap:in_axes=_,0,1",), "params.w f32[4,3], x f32[?,b,4], unused i32[b,?]"),
        (("vmap:axis_size=2",), "params.w f32[2,4,3], x f32[2,b,4], unused i32[2,b]"),
        (
            ("vmap:in_axes=_,_,_,_,-1", "jvp"),
            "params.w f32[4,3], x f32[b,4], unused i32[b], "
            "tangent_params.w f32[4,3], tangent_x f32[b,4,?]",
        ),
        (("vjp",), "params.w f32[4,3], x f32[b,4], unused i32[b], cotangent None"),
        (
            ("vmap:in_axes=0,0,0,0,0,0", "vjp"),
            "params.w None, x None, unused None, cotangent None",
        ),
    ],
)
def test_transformations_keep_what_is_known_of_the_types(
    tracer: BlockingTracer, steps: tuple[str, ...], expected: str
) -> None:
    answer = tracer.untyped(symbolic(), steps=steps)
    known = zip(answer.parameters, answer.inputs, strict=True)
    assert ", ".join(f"{name} {one}" for name, one in known) == expected


def test_dynamic_text_is_transformed(tracer: BlockingTracer) -> None:
    types = types_of("f32[3,4]", "f32[3]", "f32[3,4]", "f32[3]")
    found = tracer.made(DYNAMIC, steps=["jvp"], types=types)
    x, y = np.ones((3, 4), "f4"), np.arange(3, dtype="f4")
    value, slope = found(x, y, x, y)
    np.testing.assert_array_equal(value, x * y[:, None])
    np.testing.assert_array_equal(slope, 2 * value)
