"""Calls and results: npy, raw and text in and out, sizes, waiting, errors."""

from __future__ import annotations

import errno
import io
import json
import mmap
import os
import threading

import numpy as np
import pytest

from tests.conftest import SAXPY, Mount

X = np.array([1, 2, 3, 4], np.float32)
Y = np.array([10, 20, 30, 40], np.float32)
Z = 2 * X + Y
PAIR = """
func.func public @main(%a: tensor<2x3xf32>, %n: tensor<i32>)
    -> (tensor<3x2xf32> {jax.result_info = "t"}, tensor<i32> {jax.result_info = "m"}) {
  %0 = stablehlo.transpose %a, dims = [1, 0] : (tensor<2x3xf32>) -> tensor<3x2xf32>
  %1 = stablehlo.add %n, %n : tensor<i32>
  return %0, %1 : tensor<3x2xf32>, tensor<i32>
}
"""


def npy(*arrays: np.ndarray) -> bytes:
    """Arrays as a stream of .npy files."""
    file = io.BytesIO()
    for array in arrays:
        np.save(file, array)
    return file.getvalue()


@pytest.fixture
def saxpy(mount: Mount) -> Mount:
    mount.add("saxpy.mlir", SAXPY)
    return mount


def submit(mount: Mount, name: str, data: bytes, program: str = "saxpy") -> None:
    (mount.path / f"programs/{program}/calls/{name}").write_bytes(data)


def refuses(mount: Mount, name: str, data: bytes, program: str = "saxpy") -> int:
    with pytest.raises(OSError) as caught:
        submit(mount, name, data, program)
    assert caught.value.errno is not None
    return caught.value.errno


def test_npy_in_npy_out(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_cat_of_two_npy_files_is_a_call(saxpy: Mount) -> None:
    np.save(saxpy.path.parent / "x.npy", X)
    np.save(saxpy.path.parent / "y.npy", Y)
    saxpy.sh("cat ../x.npy ../y.npy > programs/saxpy/calls/job1; cat results/job1 > ../out.npy")
    np.testing.assert_array_equal(np.load(saxpy.path.parent / "out.npy"), Z)


def test_text_in_text_out(saxpy: Mount) -> None:
    saxpy.sh("echo '[1,2,3,4] [10,20,30,40]' > programs/saxpy/calls/job1")
    assert saxpy.sh("cat results/job1.txt").stdout == "12.0 24.0 36.0 48.0\n"
    assert json.loads(saxpy.sh("cat results/job1.json").stdout) == Z.tolist()


def test_raw_in_raw_out(saxpy: Mount) -> None:
    submit(saxpy, "job1.raw", X.tobytes() + Y.tobytes())
    assert (saxpy.path / "results/job1.raw").read_bytes() == Z.tobytes()


def test_numpy_saves_into_a_call_and_loads_from_a_result(saxpy: Mount) -> None:
    with open(saxpy.path / "programs/saxpy/calls/job1", "wb") as file:
        np.save(file, X)
        np.save(file, Y)
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_size_is_exact_at_submission(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    assert (saxpy.path / "results/job1").stat().st_size == len(npy(Z))
    assert (saxpy.path / "results/job1.raw").stat().st_size == Z.nbytes
    text = (saxpy.path / "results/job1.txt").read_text()
    assert (saxpy.path / "results/job1.txt").stat().st_size == len(text)


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


def test_id_is_used_once(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    assert refuses(saxpy, "job1", npy(X, Y)) == errno.EEXIST
    os.unlink(saxpy.path / "results/job1")
    submit(saxpy, "job1", npy(Y, X))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), 2 * Y + X)


def test_removed_result_is_gone_from_both_places(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    os.unlink(saxpy.path / "results/job1")
    assert os.listdir(saxpy.path / "results") == []
    assert os.listdir(saxpy.path / "programs/saxpy/calls") == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy(X.astype(np.int32), Y), ("f32[4]", "i32[4]", "x")),
        (npy(X[:3], Y), ("f32[4]", "f32[3]", "x")),
        (npy(X), ("2", "1")),
        (npy(X, Y, X), ("2",)),
        (npy(X, Y)[:-4], ("y",)),
        (npy(X, Y) + b"rest", ("2",)),
        (b"[1,2,3] [1,2,3,4]\n", ("f32[4]", "x")),
        (b"[1,2,3,4]\n", ("2", "1")),
        (b'[1,2,3,4] [1,2,3,"a"]\n', ("y",)),
        (b"[1,2,3,4] results/none\n", ("results/none",)),
    ],
)
def test_wrong_input_is_einval_with_the_reason_in_words(
    saxpy: Mount, data: bytes, words: tuple[str, ...]
) -> None:
    assert refuses(saxpy, "job1", data) == errno.EINVAL
    reason = (saxpy.path / "results/job1.error").read_text()
    assert reason.startswith("EINVAL: ")
    for word in words:
        assert word in reason
    assert saxpy.keyed("results/job1.status")["state"] == "failed"


def test_wrong_number_of_raw_bytes_names_both_numbers(saxpy: Mount) -> None:
    assert refuses(saxpy, "job1.raw", bytes(31)) == errno.EINVAL
    reason = (saxpy.path / "results/job1.error").read_text()
    assert "31" in reason and "32" in reason


def test_refused_call_may_be_written_again(saxpy: Mount) -> None:
    refuses(saxpy, "job1", b"[1]\n")
    submit(saxpy, "job1", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/job1"), Z)


def test_errors_are_kept_in_error_log(saxpy: Mount) -> None:
    refuses(saxpy, "loggedjob", b"[1]\n")
    assert "programs/saxpy/calls/loggedjob EINVAL" in (saxpy.path / "error_log").read_text()


def test_call_answers_in_the_format_it_was_asked_in(saxpy: Mount) -> None:
    script = "exec 3<>programs/saxpy/call; echo '[1,2,3,4] [10,20,30,40]' >&3; cat <&3"
    assert saxpy.sh(script).stdout == "[12.0, 24.0, 36.0, 48.0]\n"
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    os.write(fd, npy(X, Y))
    assert os.read(fd, 4096) == npy(Z)
    assert os.read(fd, 4096) == b""
    os.write(fd, b"[1,2,3,4] [10,20,30,40]\n")
    assert os.read(fd, 4096) == b"[12.0, 24.0, 36.0, 48.0]\n"
    os.close(fd)


def test_raw_conversation_is_pipelined_in_order(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call.raw", os.O_RDWR)
    requests = [np.full(4, n, np.float32) for n in range(50)]
    for x in requests:
        os.write(fd, x.tobytes() + Y.tobytes())
    replies = b""
    while part := os.read(fd, 7):
        replies += part
    os.close(fd)
    assert replies == b"".join((2 * x + Y).tobytes() for x in requests)


def test_request_may_arrive_in_any_pieces(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    data = npy(X, Y) + npy(Y, X)
    for start in range(0, len(data), 17):
        os.write(fd, data[start : start + 17])
    replies = b""
    while part := os.read(fd, 4096):
        replies += part
    os.close(fd)
    assert replies == npy(Z) + npy(2 * Y + X)


def test_conversation_goes_on_after_a_bad_request(saxpy: Mount) -> None:
    fd = os.open(saxpy.path / "programs/saxpy/call", os.O_RDWR)
    with pytest.raises(OSError) as caught:
        os.write(fd, b"[1] [2]\n")
    assert caught.value.errno == errno.EINVAL
    os.write(fd, b"[1,2,3,4] [10,20,30,40]\n")
    assert os.read(fd, 4096) == b"[12.0, 24.0, 36.0, 48.0]\n"
    os.close(fd)


def test_opening_call_for_reading_gives_its_usage(saxpy: Mount) -> None:
    text = (saxpy.path / "programs/saxpy/call").read_text()
    assert "in 0 x f32[4]" in text
    assert (saxpy.path / "programs/saxpy/call").stat().st_size == len(text)


def test_many_clients_get_their_own_answers(saxpy: Mount) -> None:
    wrong = []

    def client(number: int) -> None:
        fd = os.open(saxpy.path / "programs/saxpy/call.raw", os.O_RDWR)
        x = np.full(4, number, np.float32)
        for _ in range(50):
            os.write(fd, x.tobytes() + Y.tobytes())
            if os.read(fd, 16) != (2 * x + Y).tobytes():
                wrong.append(number)
        os.close(fd)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_large_arrays_pass_whole(mount: Mount) -> None:
    mount.add("big.mlir", SAXPY.replace("4xf32", "4194304xf32"))
    rng = np.random.default_rng(0)
    x, y = (rng.random(4 << 20, np.float32) for _ in range(2))
    submit(mount, "big", npy(x, y), "big")
    np.testing.assert_allclose(np.load(mount.path / "results/big"), 2 * x + y, rtol=1e-6)
    fd = os.open(mount.path / "programs/big/call.raw", os.O_RDWR)
    sent = memoryview(x.tobytes() + y.tobytes())
    while sent:
        sent = sent[os.write(fd, sent) :]
    got = b""
    while len(got) < x.nbytes:
        got += os.read(fd, 1 << 24)
    os.close(fd)
    np.testing.assert_allclose(np.frombuffer(got, np.float32), 2 * x + y, rtol=1e-6)


def test_calls_that_are_not_submitted_have_no_result(saxpy: Mount) -> None:
    saxpy.sh(": > programs/saxpy/calls/later")
    assert os.listdir(saxpy.path / "results") == []
    assert saxpy.keyed("programs/saxpy/calls/later")["state"] == "writing"
    submit(saxpy, "later", npy(X, Y))
    np.testing.assert_array_equal(np.load(saxpy.path / "results/later"), Z)


def test_nonblocking_open_of_a_finished_result_reads_it(saxpy: Mount) -> None:
    submit(saxpy, "job1", npy(X, Y))
    (saxpy.path / "results/job1").read_bytes()
    fd = os.open(saxpy.path / "results/job1", os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(fd, 4096) == npy(Z)
    os.close(fd)


def test_statistics_count_calls(saxpy: Mount) -> None:
    for number in range(3):
        submit(saxpy, f"s{number}", npy(X, Y))
        (saxpy.path / f"results/s{number}").read_bytes()
    stats = saxpy.keyed("programs/saxpy/stats")
    assert int(stats["calls"]) == 3
    assert int(stats["errors"]) == 0
    assert int(stats["run_p50_usec"]) <= int(stats["total_p99_usec"])
