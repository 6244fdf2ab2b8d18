"""Every kind of program becomes an artifact with the signature its writer would expect."""

from __future__ import annotations

import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.errors import Invalid
from jaxfs.jaxcompat import executables, mlir
from jaxfs.types.avals import DTYPES, DType
from tests.compiler.conftest import SAXPY, BlockingTracer

SAXPY_SIGNATURE = "in 0 x f32[16]\nin 1 y f32[16]\nout 0 f32[16]\n"
NAMED = """func.func @main(%arg0: tensor<4xf32> loc("params['w'][0]"),
                %batch: tensor<i32> {jax.buffer_donor = true})
    -> (tensor<4xf32> {jax.result_info = "result['loss']"},
        tensor<i32> {jax.result_info = "result[1]"}) {
  return %arg0, %batch : tensor<4xf32>, tensor<i32>
}
"""
Leaf = jax.ShapeDtypeStruct


def parsed(text: str) -> Any:
    return ir.Module.parse(text, mlir.make_context())


def bytecode(text: str) -> bytes:
    file = io.BytesIO()
    parsed(text).operation.write_bytecode(file)
    return file.getvalue()


def portable(text: str) -> bytes:
    version = stablehlo.get_minimum_version()
    return bytes(stablehlo.serialize_portable_artifact(parsed(text), version))


def exported(function: Any, *args: Any, platforms: tuple[str, ...] = ("cpu",), **kw: Any) -> bytes:
    jitted = jax.jit(function, **kw)
    return bytes(export.export(jitted, platforms=platforms)(*args).serialize())


def run(executable: bytes, tracer_signature: Any, *args: Any) -> Any:
    loaded = executables.deserialize(executable, jax.devices("cpu")[:1])
    return executables.make_callable(loaded, tracer_signature)(*args)


def test_text_takes_its_names_from_the_arguments(tracer: BlockingTracer) -> None:
    traced, _, text = tracer.trace(SAXPY)
    assert traced.source_format == "stablehlo_text"
    assert traced.signature.text() == SAXPY_SIGNATURE
    assert b"stablehlo.multiply" in text


def test_key_paths_become_names_and_donation_is_kept(tracer: BlockingTracer) -> None:
    traced, _, text = tracer.trace(NAMED)
    assert traced.signature.text() == (
        "in 0 params.w.0 f32[4]\nin 1 batch i32[] donated\n"
        "out 0 loss f32[4]\nout 1 result.1 i32[]\n"
    )
    assert b"donor" not in text


@pytest.mark.parametrize(
    ("make", "source_format"), [(bytecode, "mlir_bytecode"), (portable, "portable_artifact")]
)
def test_binary_forms_of_a_text_are_the_same_program(
    tracer: BlockingTracer, make: Any, source_format: str
) -> None:
    traced, artifact, text = tracer.trace(make(SAXPY))
    _, artifact_of_text, text_of_text = tracer.trace(SAXPY)
    assert traced.source_format == source_format
    assert traced.signature.input_avals[0].shape == (16,)
    assert (artifact, text) == (artifact_of_text, text_of_text)


def test_artifact_does_not_depend_on_names_and_lines(tracer: BlockingTracer) -> None:
    other = "// a comment\n\n" + SAXPY.replace("%x", "%renamed").replace("@saxpy", "@other")
    assert tracer.trace(other)[1] == tracer.trace(SAXPY)[1]


def test_artifact_can_be_traced_again(tracer: BlockingTracer) -> None:
    _, artifact, _ = tracer.trace(SAXPY)
    traced, again, _ = tracer.trace(artifact)
    assert traced.source_format == "portable_artifact"
    assert again == artifact


def test_lowered_text_of_a_network_runs_as_in_jax(tracer: BlockingTracer) -> None:
    def network(x: Any, kernel: Any) -> Any:
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME")
        return jax.nn.softmax(jax.nn.gelu(x, approximate=False).sum((2, 3)))

    x = np.linspace(-0.1, 0.1, 192, dtype="f4").reshape(1, 3, 8, 8)
    kernel = np.linspace(-0.1, 0.1, 135, dtype="f4").reshape(5, 3, 3, 3)
    traced, _, executable, hlo = tracer.build(jax.jit(network).lower(x, kernel).as_text())
    (found,) = run(executable, traced.signature, x, kernel)
    np.testing.assert_allclose(found, network(x, kernel), rtol=1e-5)
    assert "convolution" in hlo


def model(params: Any, x: Any, unused: Any, *, scale: Any) -> Any:
    y = jnp.linalg.cholesky(x @ x.T + jnp.eye(4, dtype=x.dtype)) @ params["w"][0] * scale
    return {"y": y, "top": jax.lax.top_k(x, 2), "spectrum": jnp.linalg.svd(x)[1]}


MODEL_ARGS = (
    {"b": Leaf((4,), "f4"), "w": [Leaf((4, 4), "f4")]},
    Leaf((4, 4), "f4"),
    Leaf((2,), "i4"),
)


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda", "cpu"), ("cpu", "cuda")])
def test_export_runs_as_in_jax_with_all_its_inputs(
    tracer: BlockingTracer, platforms: tuple[str, ...]
) -> None:
    jitted = jax.jit(model, donate_argnums=(1,))
    whole = export.export(jitted, platforms=platforms)(*MODEL_ARGS, scale=Leaf((), "f4"))
    assert len(whole.module_kept_var_idx) < len(whole.in_avals)  # b and unused are dropped
    traced, _, executable, _ = tracer.build(bytes(whole.serialize()))
    assert traced.source_format == "jax_export"
    assert traced.platforms == platforms
    assert traced.signature.text() == (
        "in 0 params.b f32[4]\nin 1 params.w.0 f32[4,4]\nin 2 x f32[4,4] donated\n"
        "in 3 arg2 i32[2]\nin 4 scale f32[]\n"
        "out 0 spectrum f32[4]\nout 1 top.0 f32[4,2]\nout 2 top.1 i32[4,2]\nout 3 y f32[4,4]\n"
    )
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(2, 4, 4)).astype("f4")
    b, unused, scale = np.ones(4, "f4"), np.ones(2, "i4"), np.float32(3)
    found = run(executable, traced.signature, b, w, x, unused, scale)
    expected = jax.tree.leaves(model({"b": b, "w": [w]}, x, unused, scale=scale))
    executables.initialize_custom_calls()
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_multi_platform_export_keeps_only_its_platforms_code(tracer: BlockingTracer) -> None:
    data = exported(jnp.linalg.cholesky, Leaf((3, 3), "f4"), platforms=("cuda", "cpu"))
    text_for = {platform: tracer.trace(data, platform)[2] for platform in ("cpu", "cuda", "gpu")}
    libraries = {
        platform: [name for name in (b"lapack", b"cusolver") if name in text]
        for platform, text in text_for.items()
    }
    assert libraries == {"cpu": [b"lapack"], "cuda": [b"cusolver"], "gpu": [b"cusolver"]}
    assert text_for["gpu"] == text_for["cuda"]
    assert b"stablehlo.case" not in text_for["cpu"]


def test_export_of_an_unregistered_pytree_type_is_read(tracer: BlockingTracer) -> None:
    class Point:
        def __init__(self, x: Any, y: Any) -> None:
            self.x, self.y = x, y

    jax.tree_util.register_pytree_node(Point, lambda p: ((p.x, p.y), None), lambda _, c: Point(*c))
    export.register_pytree_node_serialization(
        Point,
        serialized_name="tests.Point",
        serialize_auxdata=lambda _: b"",
        deserialize_auxdata=lambda _: None,
    )
    leaf = Leaf((2,), "f4")
    traced, _, _ = tracer.trace(exported(lambda p: p.x + p.y, Point(leaf, leaf)))
    assert [str(aval) for aval in traced.signature.input_avals] == ["f32[2]", "f32[2]"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (exported(jnp.sin, Leaf((2,), "f4"), platforms=("cuda",)), "exported for cuda"),
        (exported(jnp.sin, Leaf((2,), "f4"))[:-40], "not a program"),
    ],
    ids=["other platform", "truncated"],
)
def test_export_that_cannot_run_is_refused(
    tracer: BlockingTracer, data: bytes, reason: str
) -> None:
    with pytest.raises(Invalid, match=reason):
        tracer.trace(data)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.short)
def test_every_dtype_compiles_and_keeps_its_type(tracer: BlockingTracer, dtype: DType) -> None:
    array = f"tensor<4x{dtype.mlir}>"
    traced, _, _, hlo = tracer.build(
        f"func.func @main(%x: {array}) -> {array} {{\n"
        f"  %0 = stablehlo.reverse %x, dims = [0] : {array}\n  return %0 : {array}\n}}\n"
    )
    assert traced.signature.text() == f"in 0 x {dtype.short}[4]\nout 0 {dtype.short}[4]\n"
    assert "reverse" in hlo


@pytest.mark.parametrize(
    "function",
    [jnp.linalg.qr, jnp.linalg.eigh, jnp.linalg.eig, jnp.linalg.svd, jnp.linalg.inv,
     jnp.linalg.cholesky, jax.scipy.linalg.schur, jax.scipy.linalg.hessenberg,
     jax.lax.linalg.lu],
    ids=lambda function: function.__name__,
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["f4", "c16"])
def test_linear_algebra_of_jax_passes(tracer: BlockingTracer, function: Any, dtype: str) -> None:
    with jax.enable_x64(True):
        text = jax.jit(function).lower(Leaf((2, 5, 5), dtype)).as_text()
    _, artifact, _ = tracer.trace(text)
    assert artifact
