"""Programs that run on several devices at once: pmap, shardings, and files that are for several."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from jaxfs.testing import eventually
from tests.conftest import Mount, mounting
from tests.e2e.programs import FOREVER, SPIN, made
from tests.e2e.test_check import figures

LOSS = """
func.func public @main(%w: tensor<8x8xf32>, %x: tensor<4x8xf32>)
    -> (tensor<f32> {jax.result_info = "loss"}) {
  %p = stablehlo.dot_general %x, %w, contracting_dims = [1] x [0]
      : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %t = stablehlo.tanh %p : tensor<4x8xf32>
  %zero = stablehlo.constant dense<0.0> : tensor<f32>
  %s = stablehlo.reduce(%t init: %zero) applies stablehlo.add across dimensions = [0, 1]
      : (tensor<4x8xf32>, tensor<f32>) -> tensor<f32>
  return %s : tensor<f32>
}
"""
IMPORTS = """
import sys, jax, jax.numpy as jnp
from jax import export
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
"""
LOSS_EXPORT = """
def loss(w, x): return jnp.tanh(x @ w).sum()
w, x = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, 8), (4, 8)))
sys.stdout.buffer.write(export.export(jax.jit(loss))(w, x).serialize())
"""
SHARDED_EXPORT = """
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_use_shardy_partitioner", {shardy})
mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
def sums(part): return jax.lax.psum(part, "x")
def both(x, unused, w):
    y = jax.lax.with_sharding_constraint(x @ w, NamedSharding(mesh, P("x", "y")))
    return {result}
ins = NamedSharding(mesh, P("x")), NamedSharding(mesh, P("y")), NamedSharding(mesh, P())
shape = jax.ShapeDtypeStruct((8, 8), jnp.float32)
made = export.export(jax.jit(both, in_shardings=ins))(shape, shape, shape)
sys.stdout.buffer.write(made.serialize())
"""
SUMS = "jax.shard_map(sums, mesh=mesh, in_specs=P('x'), out_specs=P(), check_vma=False)(y)"
SHARE = "def share(x): return x / jax.lax.psum(x, 'i')"
MANY = 64  # calls; each needs every device
random = np.random.default_rng(5)
W, X = (random.standard_normal(shape).astype("f4") for shape in ((8, 8), (4, 8)))
BATCH = random.standard_normal((4, 4, 8)).astype("f4")
ALL = "cpu:0 cpu:1 cpu:2 cpu:3\n"


def loss(w: np.ndarray, x: np.ndarray) -> np.floating:
    found: np.floating = np.tanh(x @ w).sum()
    return found


def gradient(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """With respect to w."""
    found: np.ndarray = x.T @ (1 - np.tanh(x @ w) ** 2)
    return found


def exported(code: str) -> bytes:
    return subprocess.check_output([sys.executable, "-c", IMPORTS + code], timeout=120)


@pytest.fixture(scope="module")
def sources() -> dict[str, bytes]:
    return {
        "loss.mlir": LOSS.encode(),
        "loss.jaxexport": exported(LOSS_EXPORT),
        "loss.pkl": made("def loss(w, x): return jnp.tanh(x @ w).sum()", "loss"),
    }


@pytest.fixture(scope="module")
def _four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    with mounting(tmp_path_factory.mktemp("four"), "devices=4") as mount:
        yield mount


@pytest.fixture
def four(_four: Mount) -> Iterator[Mount]:
    yield _four
    _four.empty()


def called(mount: Mount, place: str, *inputs: np.ndarray, name: str = "t") -> np.ndarray:
    """What a program gives for these inputs."""
    with open(mount.path / place / "calls" / name, "wb") as file:
        for array in inputs:
            np.save(file, array)
    try:
        found: np.ndarray = np.load(mount.path / f"results/{name}.npy")
        return found
    finally:
        os.unlink(mount.path / f"results/{name}")


@pytest.mark.parametrize("kind", ["mlir", "jaxexport", "pkl"])
def test_pmap_gives_each_element_a_device(
    four: Mount, sources: dict[str, bytes], kind: str
) -> None:
    four.add(f"loss.{kind}", sources[f"loss.{kind}"])
    expected = [loss(W, x) for x in BATCH]
    for count in (4, 2, 1):
        got = called(four, "transformations/pmap:in_axes=_,0/loss", W, BATCH[:count])
        np.testing.assert_allclose(got, expected[:count], rtol=1e-5)
    moved = np.moveaxis(BATCH, 0, 1)
    got = called(four, "transformations/pmap:in_axes=_,1:devices=4/grad/loss", W, moved)
    np.testing.assert_allclose(got, [gradient(W, x) for x in BATCH], rtol=1e-4, atol=1e-5)


def test_a_program_of_several_devices_says_so(four: Mount) -> None:
    four.add("loss.mlir", LOSS)
    place = "transformations/pmap:in_axes=_,0:devices=4/loss"
    called(four, place, W, BATCH)
    here = four.path / place
    assert (here / "device").read_text() == ALL
    assert "num_partitions=4" in (here / "hlo.txt").read_text()
    assert "num_partitions = 4" in (here / "stablehlo.mlir").read_text()
    assert (here / "signature").read_text().splitlines()[1] == "in 1 x f32[4,4,8]"
    of_one_device = W.nbytes + BATCH[0].nbytes
    assert four.keyed(f"{place}/memory")["argument_bytes"] == str(of_one_device)


def test_collectives_meet(four: Mount) -> None:
    four.add("share.pkl", made(SHARE, "share"))
    v = np.array([1, 2, 3, 4], np.float32)
    got = called(four, "transformations/pmap:axis_name=i/share", v)
    np.testing.assert_allclose(got, v / v.sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("mesh", "spread"),
    [("x1", "_,x"), ("x2", "_,x"), ("x4", "_,x"), ("x2y2", "_,x.y"), ("x2y2", "_.y,x+y")],
)
def test_a_sharded_program_gives_the_same_numbers(four: Mount, mesh: str, spread: str) -> None:
    four.add("loss.mlir", LOSS)
    step = f"jit:in_shardings={spread}:mesh={mesh}"
    got = called(four, f"transformations/{step}/loss", W, X)
    np.testing.assert_allclose(got, loss(W, X), rtol=1e-5)
    names = ALL.split()[: {"x1": 1, "x2": 2}.get(mesh, 4)]
    assert (four.path / f"transformations/{step}/loss/device").read_text().split() == names
    got = called(four, f"transformations/grad/{step}/loss", W, X)
    np.testing.assert_allclose(got, gradient(W, X), rtol=1e-4, atol=1e-5)


def test_shardings_decide_what_a_device_holds(four: Mount) -> None:
    slope = "def f(w, x): return jax.grad(lambda w: jnp.tanh(x @ w).sum())(w)"
    examples = "np.zeros((8, 8), 'f4'), np.zeros((4, 8), 'f4')"
    four.add("slope.pkl", made(slope, f"(f, {examples})"))
    place = "transformations/jit:in_shardings=_.x,_._:out_shardings=_.x:mesh=x4/slope"
    got = called(four, place, W, X)
    np.testing.assert_allclose(got, gradient(W, X), rtol=1e-4, atol=1e-5)
    figures = four.keyed(f"{place}/memory")
    assert int(figures["argument_bytes"]) == W.nbytes // 4 + X.nbytes
    assert int(figures["output_bytes"]) == W.nbytes // 4


def test_a_function_that_names_mesh_axes_is_given_its_mesh_in_options(four: Mount) -> None:
    body = """
from jax.sharding import PartitionSpec as P
def f(x):
    y = jax.lax.with_sharding_constraint(2 * x, P("x"))
    def share(z): return z / jax.lax.psum(z.sum(), "x")
    part = jax.shard_map(share, in_specs=P("x"), out_specs=P("x"))
    return part(y)
"""
    source = made(body, "(f, np.zeros((4, 8), 'f4'))")
    with pytest.raises(OSError):
        four.add("f.pkl", source)
    told = (four.path / "programs/f/error").read_text()
    assert told.startswith("EOPNOTSUPP: the program shards arrays over a mesh, and there is none")
    (four.path / "programs/f/options").write_text("mesh x4\nin_shardings x\n")
    assert (four.path / "programs/f/device").read_text() == ALL
    np.testing.assert_allclose(called(four, "programs/f", X), X / X.sum(), rtol=1e-5)
    with pytest.raises(OSError) as caught:
        (four.path / "programs/f/options").write_text("mesh 4\n")
    assert caught.value.errno == errno.EINVAL


def test_a_transformed_export_for_several_devices_is_whole_again(four: Mount) -> None:
    four.add("product.jaxexport", exported(SHARDED_EXPORT.format(shardy=True, result="y.sum()")))
    place, one = "transformations/grad:argnums=2/product", np.ones((8, 8), "f4")
    x = np.arange(64, dtype="f4").reshape(8, 8)
    expected = x.T @ one
    np.testing.assert_allclose(called(four, place, x, x, one), expected, rtol=1e-5)
    assert (four.path / place / "device").read_text() == "cpu:0\n"
    again = "transformations/jit:in_shardings=x,_,_:mesh=x2/grad:argnums=2/product"
    np.testing.assert_allclose(called(four, again, x, x, one), expected, rtol=1e-5)
    assert (four.path / again / "device").read_text() == "cpu:0 cpu:1\n"
    four.add("both.jaxexport", exported(SHARDED_EXPORT.format(shardy=True, result=SUMS)))
    with pytest.raises(OSError):
        (four.path / "transformations/jacfwd/both/signature").read_text()
    told = (four.path / "transformations/jacfwd/both/error").read_text()
    assert told.startswith("EOPNOTSUPP: each device computes by itself here (shard_map)")


def test_check_compares_a_spread_program_with_the_interpreter(four: Mount) -> None:
    four.add("loss.mlir", LOSS)
    place = "transformations/jit:in_shardings=_,x:mesh=x4/loss"
    four.sh(f"echo random > {place}/check")
    (found,) = figures(four, place)
    assert float(found["max_abs_difference"]) < 1e-4
    four.add("both.jaxexport", exported(SHARDED_EXPORT.format(shardy=True, result=SUMS)))
    with pytest.raises(OSError) as caught:
        (four.path / "programs/both/check").write_text("random")
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("shardy", [True, False])
def test_a_program_exported_for_several_devices_runs(four: Mount, shardy: bool) -> None:
    both = four.add("both.jaxexport", exported(SHARDED_EXPORT.format(shardy=shardy, result=SUMS)))
    assert (both / "device").read_text() == ALL
    x, w = (np.arange(64, dtype="f4").reshape(8, 8) / 64 + i for i in (0, 1))
    product = x @ w
    got = called(four, "programs/both", x, x, w)
    np.testing.assert_allclose(got, product[:4] + product[4:], rtol=1e-5)


def test_large_outputs_of_several_devices_come_back_whole(four: Mount) -> None:
    four.add("twice.pkl", made("def twice(x): return 2 * x, x.T", "twice"))
    place = "transformations/jit:in_shardings=_.x:out_shardings=_.x,x:mesh=x4/twice"
    x = np.arange(512 * 1024, dtype="f4").reshape(512, 1024)
    with open(four.path / place / "calls/t", "wb") as file:
        np.save(file, x)
    np.testing.assert_array_equal(np.load(four.path / "results/t.0.npy"), 2 * x)
    np.testing.assert_array_equal(np.load(four.path / "results/t.1.npy"), x.T)


def test_more_devices_than_there_are_is_enodev(four: Mount, mount: Mount) -> None:
    four.add("loss.mlir", LOSS)
    pmapped = four.path / "transformations/pmap:devices=5/loss"
    with pytest.raises(OSError):
        (pmapped / "signature").read_text()
    told = (pmapped / "error").read_text()
    assert told.startswith("ENODEV: the program runs on 5 devices at once, and there are 4 (cpu:0 ")
    place = four.path / "transformations/pmap/twice/calls/t"
    four.add("twice.pkl", made("def twice(x): return 2 * x", "twice"))
    with pytest.raises(OSError) as caught:
        place.write_text("[1, 2, 3, 4, 5]")
    assert caught.value.errno == errno.ENODEV
    with pytest.raises(OSError) as caught:
        mount.add("both.jaxexport", exported(SHARDED_EXPORT.format(shardy=True, result=SUMS)))
    assert caught.value.errno == errno.ENODEV
    told = (mount.path / "programs/both/error").read_text()
    assert "runs on 4 devices at once, and there is 1 (cpu:0)" in told


@pytest.mark.parametrize(
    ("step", "number", "reason"),
    [
        ("jit:in_shardings=x", "EINVAL", "shardings need a mesh"),
        ("jit:in_shardings=z:mesh=x4", "EINVAL", "the mesh has no axis z, only x"),
        ("jit:in_shardings=x:mesh=x3", "EINVAL", "not divisible by the 3 devices of x"),
        ("jit:in_shardings=x,x,x:mesh=x4", "EINVAL", "3 shardings for 2 arguments"),
        ("jit:in_shardings=_._.x:mesh=x4", "EINVAL", "w f32[8,8] has no dimension 2"),
        ("pmap:devices=2/pmap:devices=2", "EOPNOTSUPP", "JAX has one mesh a program"),
    ],
)
def test_what_cannot_be_spread_says_why(four: Mount, step: str, number: str, reason: str) -> None:
    four.add("loss.mlir", LOSS)
    here = four.path / f"transformations/{step}/loss"
    with pytest.raises(OSError):
        (here / "signature").read_text()
    told = (here / "error").read_text()
    assert told.startswith(f"{number}: ")
    assert reason in told


def test_a_program_of_several_devices_cannot_be_moved(four: Mount) -> None:
    four.add("loss.mlir", LOSS)
    device = four.path / "transformations/pmap:devices=4/loss/device"
    (device.parent / "signature").read_text()  # its first use
    assert device.read_text() == ALL
    device.write_text(ALL)
    with pytest.raises(OSError) as caught:
        device.write_text("cpu:1\n")
    assert caught.value.errno == errno.EINVAL
    assert device.read_text() == ALL


def test_programs_that_need_every_device_take_turns(four: Mount) -> None:
    """Each device waits in one program for the others: two at a time could wait for ever."""
    four.add("share.pkl", made(SHARE, "share"))
    place, wrong = "transformations/pmap:axis_name=i/share", list[str]()

    def client(number: int) -> None:
        for turn in range(MANY // 8):
            v = np.full(4, 1 + number + turn, np.float32)
            if called(four, place, v, name=f"c{number}").tolist() != [0.25] * 4:
                wrong.append(f"{number}.{turn}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_endless_calls_of_one_device_do_not_keep_others_from_meeting(four: Mount) -> None:
    four.add("share.pkl", made(SHARE, "share"))
    four.add("spin.mlir", SPIN)
    for number in range(4):
        (four.path / f"programs/spin/calls/endless{number}").write_text(str(FOREVER))
    got = called(four, "transformations/pmap:axis_name=i/share", np.ones(4, "f4"))
    assert got.tolist() == [0.25] * 4
    for number in range(4):
        assert four.keyed(f"results/endless{number}.status")["state"] == "running"
        os.unlink(four.path / f"results/endless{number}")


def test_an_endless_call_of_several_devices_keeps_only_such_calls_waiting(four: Mount) -> None:
    four.add("spin.mlir", SPIN)
    place = four.path / "transformations/pmap:devices=4/spin/calls"
    (place / "endless").write_text(str([FOREVER] * 4))
    (place / "waits").write_text("[1, 2, 3, 4]")
    (four.path / "programs/spin/calls/alone").write_text("5")
    assert four.sh("cat results/alone.json").stdout.strip() == "5"
    os.unlink(four.path / "results/endless")
    assert four.sh("cat results/waits.json").stdout.strip() == "[1, 2, 3, 4]"


def test_a_call_on_several_devices_survives_the_engine(tmp_path: Path) -> None:
    with mounting(tmp_path, "devices=4") as mount:
        mount.add("spin.mlir", SPIN)
        place = mount.path / "transformations/pmap:devices=4/spin"
        turns = [200_000_000 + number for number in range(4)]
        (place / "calls/s").write_text(str(turns))
        os.kill(int(mount.keyed("health")["engine_pid"]), signal.SIGKILL)
        assert mount.sh("cat results/s.json").stdout.strip() == str(turns)
        eventually(lambda: mount.keyed("health")["engine_restarts"] == "1")
        mount.remount()
        assert (place / "device").read_text() == ALL
        (place / "calls/after").write_text("[1, 2, 3, 4]")
        assert mount.sh("cat results/after.json").stdout.strip() == "[1, 2, 3, 4]"


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_each_users_engine_has_all_devices(tmp_path: Path) -> None:
    with mounting(tmp_path, "devices=4,engine=per-user") as mount:
        mount.add("share.pkl", made(SHARE, "share"))
        got = called(mount, "transformations/pmap:axis_name=i/share", np.ones(4, "f4"))
        assert got.tolist() == [0.25] * 4
