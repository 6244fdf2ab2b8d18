"""Programs for GPUs and TPUs are traced where there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxfs.errors import Invalid
from tests.compiler.conftest import BlockingTracer, dumped

POLAR = lax.linalg.SvdAlgorithm.POLAR


def pickled(function: Callable[..., Any], *shapes: tuple[int, ...]) -> bytes:
    return dumped((function, *(jnp.zeros(shape, jnp.float32) for shape in shapes)))


def qr_with_pivots(x: Any) -> Any:
    return lax.linalg.qr(x, pivoting=True, full_matrices=False)


def polar(x: Any) -> Any:
    return lax.linalg.svd(x, algorithm=POLAR)


def thin_polar(x: Any) -> Any:
    return lax.linalg.svd(x, algorithm=POLAR, full_matrices=False)


def symmetric_product(x: Any, y: Any) -> Any:
    return lax.linalg.symmetric_product(x, y)


def eig_of_complex(x: Any) -> Any:
    return jnp.linalg.eig(x + 1j)


def with_empty(x: Any) -> Any:
    return jnp.empty((3,)), x


ON_GPUS: dict[str, tuple[Any, ...]] = {
    "eig": (jnp.linalg.eig, (2, 4, 4)),
    "complex eig": (eig_of_complex, (4, 4)),
    "eigvals": (jnp.linalg.eigvals, (4, 4)),
    "qr with pivots": (qr_with_pivots, (2, 3, 5)),
    "polar": (polar, (5, 3)),
    "thin polar": (thin_polar, (2, 3, 5)),
    "symmetric product": (symmetric_product, (2, 4, 3), (2, 4, 4)),
    "eigh": (jnp.linalg.eigh, (4, 4)),
    "lu": (lax.linalg.lu, (2, 5, 3)),
    "empty": (with_empty, (3,)),
}
ON_TPUS: dict[str, tuple[Any, ...]] = {
    "eigh": (jnp.linalg.eigh, (2, 4, 4)),
    "qr": (jnp.linalg.qr, (2, 5, 3)),
    "lu": (lax.linalg.lu, (2, 5, 3)),
    "svd": (jnp.linalg.svd, (5, 3)),
    "solve": (jnp.linalg.solve, (4, 4), (4, 2)),
    "empty": (with_empty, (3,)),
}
CASES = [
    *(("cuda", name) for name in ON_GPUS),
    *(("rocm", name) for name in ("eig", "qr with pivots", "lu", "eigh")),
    *(("tpu", name) for name in ON_TPUS),
]


@pytest.mark.parametrize(("platform", "name"), CASES)
def test_dense_linear_algebra_of_jax_is_taken(
    tracer: BlockingTracer, platform: str, name: str
) -> None:
    function, *shapes = (ON_TPUS if platform == "tpu" else ON_GPUS)[name]
    assert tracer.made(pickled(function, *shapes), platform=platform).artifact


@pytest.mark.parametrize(
    ("element", "zero"),
    [
        ("f32", "0.000000e+00"),
        ("bf16", "0.000000e+00"),
        ("i4", "0"),
        ("ui8", "0"),
        ("i1", "false"),
        ("complex<f32>", "0.000000e+00"),
        ("f8E4M3FN", "0.000000e+00"),
        ("f8E8M0FNU", "1.000000e+00"),
    ],
)
def test_memory_without_content_becomes_zeros(
    tracer: BlockingTracer, element: str, zero: str
) -> None:
    made = tracer.made(
        "func.func @main() -> tensor<3xTYPE> {\n"
        '  %0 = "stablehlo.custom_call"() {call_target_name = "AllocateBuffer"} '
        ": () -> tensor<3xTYPE>\n"
        "  return %0 : tensor<3xTYPE>\n}".replace("TYPE", element)
    )
    found = element.removeprefix("complex<").removesuffix(">")
    assert f"stablehlo.constant dense<{zero}> : tensor<3x{found}>" in made.text.decode()


CUSOLVER = """func.func @main(%x: tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<i32>) {
  %0:2 = stablehlo.custom_call @cusolver_potrf_ffi(%x)
    : (tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<i32>)
  return %0#0, %0#1 : tensor<4x4xf32>, tensor<i32>
}"""


@pytest.mark.parametrize(
    ("text", "platform", "lowered"),
    [
        (CUSOLVER, "cpu", "cuda"),
        (CUSOLVER, "tpu", "cuda"),
        (CUSOLVER, "rocm", "cuda"),
        (CUSOLVER.replace("cusolver", "hipsolver"), "cuda", "rocm"),
        (CUSOLVER.replace("cusolver_potrf", "lapack_spotrf"), "cuda", "cpu"),
    ],
)
def test_a_program_lowered_for_another_platform_is_refused_in_words(
    tracer: BlockingTracer, text: str, platform: str, lowered: str
) -> None:
    with pytest.raises(Invalid, match=f"lowered for {lowered}, and the device is {platform}; "):
        tracer.ask(text, platform)


@pytest.mark.parametrize("platform", ["cuda", "gpu"])
def test_the_option_platforms_names_a_gpu_by_either_name(
    tracer: BlockingTracer, platform: str
) -> None:
    source = pickled(jnp.sin, (3,))
    for names in ("cuda", "cpu cuda", "gpu"):
        assert tracer.ask(source, platform, options={"platforms": names})
    with pytest.raises(Invalid, match="platforms is cpu rocm, and the device is cuda"):
        tracer.ask(source, "cuda", options={"platforms": "cpu rocm"})


def cholesky_update(r: Any, w: Any) -> Any:
    return lax.linalg.cholesky_update(r, w)


def cudnn_attention(q: Any) -> Any:
    q = q.astype(jnp.bfloat16)
    return jax.nn.dot_product_attention(q, q, q, implementation="cudnn")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (pickled(cholesky_update, (4, 4), (4,)), "whole GPU at once"),
        (pickled(cudnn_attention, (1, 64, 4, 64)), "use implementation='xla'"),
    ],
    ids=["cholesky_update", "cudnn"],
)
def test_what_needs_the_gpu_while_it_is_lowered_is_refused_in_words(
    tracer: BlockingTracer, source: bytes, words: str
) -> None:
    with pytest.raises(Invalid, match=words):
        tracer.ask(source, "cuda")


def test_settings_of_eigh_are_read_as_its_compiler_does(tracer: BlockingTracer) -> None:
    text = """func.func @main(%x: tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<4xf32>) {
      %0:2 = stablehlo.custom_call @Eigh(%x) {backend_config = "SETTINGS"}
        : (tensor<4x4xf32>) -> (tensor<4x4xf32>, tensor<4xf32>)
      return %0#0, %0#1 : tensor<4x4xf32>, tensor<4xf32>
    }"""
    assert tracer.ask(text.replace("SETTINGS", "1,1,100,1e-6"), "tpu")
    for bad in ("1,1", "x", "1,1,100,1e-6,9", "1,1,1000000,1e-6"):
        with pytest.raises(Invalid, match="no dictionary"):
            tracer.ask(text.replace("SETTINGS", bad), "tpu")
