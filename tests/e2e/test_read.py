"""read(2): sources, signatures, results, statistics and errors."""

from __future__ import annotations

import json
import mmap

import numpy as np

from tests.conftest import SAXPY, Mount
from tests.e2e.requests import (
    X,
    Y,
    Z,
    npy,
    refuses_call,
    submit,
)

PAIR = """
func.func public @main(%a: tensor<2x3xf32>, %n: tensor<i32>)
    -> (tensor<3x2xf32> {jax.result_info = "t"}, tensor<i32> {jax.result_info = "m"}) {
  %0 = stablehlo.transpose %a, dims = [1, 0] : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = stablehlo.add %n, %n : tensor<i32>
  return %0, %1 : tensor<3x2xf32>, tensor<i32>
}
"""


def test_source_reads_back_byte_for_byte(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    assert (mount.path / "programs/saxpy.mlir").stat().st_size == len(SAXPY)


def test_signature_names_each_input_and_output(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    expected = "in 0 x f32[4]\nin 1 y f32[4]\nout 0 result f32[4]\n"
    assert (saxpy / "signature").read_text() == expected
    assert json.loads((saxpy / "signature.json").read_text())["inputs"][0]["name"] == "x"


def test_what_is_compiled_and_what_came_of_it_can_be_read(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    assert "stablehlo.multiply" in (saxpy / "stablehlo.mlir").read_text()
    assert "HloModule" in (saxpy / "hlo.txt").read_text()
    assert float(mount.keyed("programs/saxpy/cost")["flops"]) >= 8
    assert int(mount.keyed("programs/saxpy/memory")["argument_bytes"]) == 32


def test_finished_result_can_be_mapped(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    with (
        open(saxpy.path / "results/job1", "rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
    ):
        assert mapped[:] == npy(Z)
    mapped_array = np.load(saxpy.path / "results/job1", mmap_mode="r")
    np.testing.assert_array_equal(mapped_array, Z)


def test_tar_and_cp_copy_results_whole(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    saxpy.sh("tar cf ../r.tar results/job1 && cp results/job1 ../copy && tar xf ../r.tar -C ..")
    assert (saxpy.path.parent / "copy").read_bytes() == npy(Z)
    assert (saxpy.path.parent / "results/job1").read_bytes() == npy(Z)


def test_several_outputs_come_as_one_stream_or_one_by_one(mount: Mount) -> None:
    mount.add("pair.mlir", PAIR)
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    submit(mount, "p", npy(a, np.array(21, np.int32)), "pair")
    assert (mount.path / "results/p").read_bytes() == npy(a.T.copy(), np.array(42, np.int32))
    np.testing.assert_array_equal(np.load(mount.path / "results/p.0"), a.T)
    assert np.load(mount.path / "results/p.m") == 42
    assert (mount.path / "results/p.m.txt").read_text() == "42\n"
    assert (mount.path / "results/p.1.raw").read_bytes() == (42).to_bytes(4, "little")


def test_unknown_view_is_enoent(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    for name in ("job1.7", "job1.nothing", "job2", "job1.0.nothing"):
        assert not (saxpy.path / "results" / name).exists()


def test_status_tells_the_story_of_a_call(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    (saxpy.path / "results/job1").read_bytes()
    status = saxpy.keyed("results/job1.status")
    assert status["state"] == "done"
    assert status["output_bytes"] == "16"
    assert saxpy.keyed("programs/saxpy/calls/job1") == status
    assert (saxpy.path / "results/job1.error").read_text() == "ok\n"


def test_errors_are_kept_in_error_log(saxpy: Mount) -> None:
    refuses_call(saxpy, "loggedjob", b"[1]\n")
    assert "programs/saxpy/calls/loggedjob EINVAL" in (saxpy.path / "error_log").read_text()


def test_statistics_count_calls(saxpy: Mount) -> None:
    for number in range(3):
        submit(saxpy, f"s{number}", npy(X, Y))
        (saxpy.path / f"results/s{number}").read_bytes()
    stats = saxpy.keyed("programs/saxpy/stats")
    assert int(stats["calls"]) == 3
    assert int(stats["errors"]) == 0
    assert int(stats["run_p50_usec"]) <= int(stats["total_p99_usec"])
