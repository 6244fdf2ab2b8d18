"""Every kind of source, good and bad, through the mount."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat import mlir
from jaxfs.types.avals import DTYPES, DType
from tests.conftest import SAXPY, Mount

X = np.array([1, 2, 3, 4], np.float32)


def saxpy(x: jax.Array, y: jax.Array) -> jax.Array:
    return 2 * x + y


def as_text() -> bytes:
    return SAXPY.encode()


def as_bytecode() -> bytes:
    with mlir.make_context():
        file = io.BytesIO()
        ir.Module.parse(SAXPY).operation.write_bytecode(file)
        return file.getvalue()


def as_portable_artifact() -> bytes:
    with mlir.make_context():
        module = ir.Module.parse(SAXPY)
        return bytes(stablehlo.serialize_portable_artifact(module, "1.0.0"))


def exported(**options: Any) -> export.Exported:
    shape = jax.ShapeDtypeStruct((4,), jnp.float32)
    return export.export(jax.jit(saxpy), **options)(shape, shape)


def as_export() -> bytes:
    return bytes(exported().serialize())


def as_export_for_many_platforms() -> bytes:
    return bytes(exported(platforms=("cuda", "cpu", "tpu")).serialize())


SOURCES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "stablehlo_text": ("text.mlir", as_text),
    "mlir_bytecode": ("bytecode.mlirbc", as_bytecode),
    "portable_artifact": ("portable.mlirbc", as_portable_artifact),
    "jax_export": ("one.jaxexport", as_export),
}


@pytest.mark.parametrize("form", SOURCES)
def test_every_kind_of_source_gives_the_same_answer(mount: Mount, form: str) -> None:
    filename, make = SOURCES[form]
    program = mount.add(filename, make())
    assert mount.keyed(f"programs/{program.name}/status")["source_format"] == form
    mount.sh(f"echo '[1,2,3,4] [1,1,1,1]' > programs/{program.name}/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[3.0, 5.0, 7.0, 9.0]"


def test_export_for_many_platforms_runs_on_this_one(mount: Mount) -> None:
    mount.add("many.jaxexport", as_export_for_many_platforms())
    assert mount.keyed("programs/many/status")["platforms"] == "cuda,cpu,tpu"
    mount.sh("echo '[1,2,3,4] [1,1,1,1]' > programs/many/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[3.0, 5.0, 7.0, 9.0]"


def test_export_for_another_platform_is_refused(mount: Mount) -> None:
    with pytest.raises(OSError) as caught:
        mount.add("tpu.jaxexport", bytes(exported(platforms=("tpu",)).serialize()))
    assert caught.value.errno == errno.EINVAL
    assert "tpu" in (mount.path / "programs/tpu/error").read_text()


def test_pytree_names_are_in_the_signature(mount: Mount) -> None:
    def model(params: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        return {"y": x @ params["w"] + params["b"], "norm": jnp.sum(params["w"] ** 2)}

    shapes = {"w": (3, 2), "b": (2,)}
    params = {k: jax.ShapeDtypeStruct(s, jnp.float32) for k, s in shapes.items()}
    artifact = export.export(jax.jit(model))(params, jax.ShapeDtypeStruct((5, 3), jnp.float32))
    program = mount.add("model.jaxexport", bytes(artifact.serialize()))
    lines = (program / "signature").read_text().splitlines()
    assert [line.split()[2] for line in lines if line.startswith("in")][:2] == [
        "params.b",
        "params.w",
    ]
    assert {line.split()[2] for line in lines if line.startswith("out")} == {"y", "norm"}


def test_donated_arguments_are_marked_and_work(mount: Mount) -> None:
    step = jax.jit(saxpy, donate_argnums=0)
    shape = jax.ShapeDtypeStruct((4,), jnp.float32)
    program = mount.add("step.jaxexport", bytes(export.export(step)(shape, shape).serialize()))
    assert (program / "signature").read_text().splitlines()[0].endswith("donated")
    mount.sh("echo '[1,2,3,4] [1,1,1,1]' > programs/step/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[3.0, 5.0, 7.0, 9.0]"


def test_unused_arguments_are_still_taken(mount: Mount) -> None:
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    artifact = export.export(jax.jit(lambda x, unused: x + 1))(shape, shape)
    program = mount.add("drop.jaxexport", bytes(artifact.serialize()))
    assert (program / "signature").read_text().count("in ") == 2
    mount.sh("echo '[1,2] [5,5]' > programs/drop/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 3.0]"


def test_lowered_conv_net_runs(mount: Mount) -> None:
    # jax.lax takes arrays of numpy too; its types have jax.Array only
    kernel: Any = np.random.default_rng(0).normal(size=(3, 3, 1, 4)).astype(np.float32)

    def net(x: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=dims)
        return jax.nn.relu(y).mean((1, 2))

    x = np.random.default_rng(1).normal(size=(2, 8, 8, 1)).astype(np.float32)
    mount.add("conv.mlir", jax.jit(net).lower(x).as_text())
    with open(mount.path / "programs/conv/calls/a", "wb") as file:
        np.save(file, x)
    np.testing.assert_allclose(np.load(mount.path / "results/a"), net(x), rtol=1e-4, atol=1e-6)


BAD = {
    "empty line": ("a.mlir", b"\n", ""),
    "prose": ("b.mlir", b"Dear JAX, please add two numbers.\n", ""),
    "unknown op": (
        "c.mlir",
        b"func.func public @main(%x: tensor<f32>) -> tensor<f32> {\n"
        b'  %0 = "stablehlo.frobnicate"(%x) : (tensor<f32>) -> tensor<f32>\n'
        b"  return %0 : tensor<f32>\n}\n",
        "frobnicate",
    ),
    "custom call": (
        "d.mlir",
        b"func.func public @main(%x: tensor<f32>) -> tensor<f32> {\n"
        b"  %0 = stablehlo.custom_call @my_kernel(%x) : (tensor<f32>) -> tensor<f32>\n"
        b"  return %0 : tensor<f32>\n}\n",
        "my_kernel",
    ),
    "types that do not fit": (
        "e.mlir",
        b"func.func public @main(%x: tensor<4xf32>, %y: tensor<5xf32>) -> tensor<4xf32> {\n"
        b"  %0 = stablehlo.add %x, %y : tensor<4xf32>\n"
        b"  return %0 : tensor<4xf32>\n}\n",
        "",
    ),
    "binary": ("f.mlirbc", bytes(range(256)), ""),
    "truncated bytecode": ("g.mlirbc", b"ML\xefR", ""),
    "no main": ("h.mlir", b"module {}\n", "main"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_source_is_refused_in_words(mount: Mount, kind: str) -> None:
    filename, source, word = BAD[kind]
    with pytest.raises(OSError) as caught:
        mount.add(filename, source)
    assert caught.value.errno == errno.EINVAL
    reason = (mount.path / f"programs/{filename[0]}/error").read_text()
    assert reason.startswith("EINVAL: ")
    assert word in reason
    mount.add("good.mlir", SAXPY)


@pytest.mark.parametrize("make", [as_bytecode, as_portable_artifact, as_export])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.99])
def test_truncated_binary_is_refused(mount: Mount, make: Callable[[], bytes], part: float) -> None:
    data = make()
    with pytest.raises(OSError) as caught:
        mount.add("cut.mlirbc", data[: int(len(data) * part)])
    assert caught.value.errno == errno.EINVAL
    assert (mount.path / "programs/cut/error").read_text().startswith("EINVAL: ")


@pytest.mark.parametrize("row", DTYPES, ids=lambda row: row.short)
def test_every_dtype_passes_through_a_program(mount: Mount, row: DType) -> None:
    source = (
        f"func.func public @main(%x: tensor<3x{row.mlir}>) -> tensor<3x{row.mlir}> {{\n"
        f"  return %x : tensor<3x{row.mlir}>\n}}\n"
    )
    mount.add("same.mlir", source)
    data = np.array([1, 0, 1]).astype(row.numpy)
    (mount.path / "programs/same/calls/a.raw").write_bytes(data.tobytes())
    assert (mount.path / "results/a.raw").read_bytes() == data.tobytes()
    assert (mount.path / "programs/same/signature").read_text().startswith(f"in 0 x {row.short}[3]")
