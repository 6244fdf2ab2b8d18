"""``arrays/``: written, read, named, counted, and taken by calls."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from jaxfs.testing import eventually
from tests.conftest import Mount
from tests.e2e.programs import FOREVER, SPIN, STEP, TREE, made
from tests.e2e.requests import (
    npy,
    numbers,
)

LARGE = """
func.func @main(%w: tensor<1048576xf32>, %i: tensor<i32>) -> (tensor<1xf32>) {
  %0 = stablehlo.dynamic_slice %w, %i, sizes = [1]
      : (tensor<1048576xf32>, tensor<i32>) -> tensor<1xf32>
  return %0 : tensor<1xf32>
}
"""


READER = """
import errno, sys
import numpy as np
for _ in range(300):
    try:
        found = np.load(sys.argv[1])
    except OSError as error:  # replaced twice while it was opened
        assert error.errno == errno.ESTALE, error
        continue
    assert (found == found.size).all(), found
print("fine")
"""


def refusal(path: Path, data: bytes) -> int:
    """The errno of writing a file."""
    try:
        path.write_bytes(data)
    except OSError as error:
        return error.errno or 0
    return 0


def test_array_reads_back_as_it_was_written(mount: Mount) -> None:
    x = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.save(mount.path / "arrays/x.npy", x)
    assert np.array_equal(np.load(mount.path / "arrays/x"), x)
    assert (mount.path / "arrays/x").read_bytes() == npy(x)
    assert os.listdir(mount.path / "arrays") == ["x"]
    assert (mount.path / "arrays/x.dtype").read_text() == "f16\n"
    assert (mount.path / "arrays/x.shape").read_text() == "2 3\n"
    assert (mount.path / "arrays/x.nbytes").read_text() == "12\n"
    assert (mount.path / "arrays/x.device").read_text() == "cpu:0\n"
    assert mount.keyed("arrays/x.status")["state"] == "ready"


@pytest.mark.parametrize("suffix", ["npy", "safetensors", "raw", "json", "txt", "csv", "png"])
def test_array_is_shown_in_every_format(mount: Mount, suffix: str) -> None:
    x = np.array([[0, 128], [255, 7]], np.uint8)
    (mount.path / "arrays/x").write_bytes(npy(x))
    path = mount.path / f"arrays/x.{suffix}"
    data = path.read_bytes()
    assert path.stat().st_size == len(data) > 0
    shown = {
        "npy": npy(x),
        "raw": x.tobytes(),
        "json": b"[[0, 128], [255, 7]]\n",
        "csv": b"0,128\n255,7\n",
    }
    assert data == shown.get(suffix, data)


def test_safetensors_are_told_by_their_content_and_keep_their_names(mount: Mount) -> None:
    leaves: dict[str, np.ndarray] = {  # stored b.c first
        "a": np.ones(3, np.float32),
        "b.c": np.arange(4, dtype=np.int64),
    }
    (mount.path / "arrays/p").write_bytes(save(leaves))
    found = load((mount.path / "arrays/p.safetensors").read_bytes())
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in leaves.items()
    }
    assert np.load(mount.path / "arrays/p.b").tolist() == [0, 1, 2, 3]
    assert (mount.path / "arrays/p.shape").read_text() == "3\n4\n"


def test_text_becomes_an_array(mount: Mount) -> None:
    (mount.path / "arrays/x").write_text("[[1, 2.5], [3, 4]]\n")
    assert np.load(mount.path / "arrays/x").tolist() == [[1, 2.5], [3, 4]]
    assert (mount.path / "arrays/x.dtype").read_text() == "f32\n"


@pytest.mark.parametrize("data", [b"nonsense\n", b"[[1,2],[3]]\n", npy(np.ones(3))[:-1]])
def test_what_is_no_array_is_einval_and_what_was_there_stays(mount: Mount, data: bytes) -> None:
    path = mount.path / "arrays/x"
    assert refusal(path, data) == errno.EINVAL
    assert (mount.path / "arrays/x.error").read_text().startswith("EINVAL")
    with pytest.raises(OSError, match="Invalid"):
        path.read_bytes()
    path.write_text("[1.5]\n")
    assert (mount.path / "arrays/x.error").read_text() == "ok\n"
    assert refusal(path, data) == errno.EINVAL
    assert numbers(mount, "arrays/x") == [1.5]


def test_replaced_array_is_a_new_inode_and_open_readers_keep_the_old_one(mount: Mount) -> None:
    path = mount.path / "arrays/x"
    path.write_bytes(npy(np.zeros(100_000, np.float32)))
    before = path.stat().st_ino
    old = np.load(path, mmap_mode="r")
    path.write_bytes(npy(np.ones(100_000, np.float32)))
    assert path.stat().st_ino != before
    assert np.load(path).sum() == 100_000
    assert old.sum() == 0


def test_training_loop_of_the_shell(step: Mount) -> None:
    step.sh(
        "echo '[1.0, 2, 3, 4]' > arrays/w; echo '[1.0, 1, 1, 0.5]' > arrays/x; "
        'for i in {1..20}; do echo "arrays/w arrays/x" > programs/step/calls/s; '
        "mv results/s arrays/w; done"
    )
    assert numbers(step, "arrays/w") == [21, 22, 23, 14]
    assert os.listdir(step.path / "results") == []


def test_memory_is_charged_until_the_last_name_goes(mount: Mount) -> None:
    def in_use() -> int:
        text = (mount.path / "metrics").read_text()
        found = re.search(r"^jaxfs_result_bytes (\d+)", text, re.MULTILINE)
        assert found
        return int(found[1])

    eventually(lambda: in_use() == 0)  # close(2) returns before the mount has heard of it
    (mount.path / "arrays/x").write_bytes(npy(np.zeros(1 << 20, np.uint8)))
    os.link(mount.path / "arrays/x", mount.path / "arrays/y")
    assert in_use() == 1 << 20
    os.unlink(mount.path / "arrays/x")
    assert in_use() == 1 << 20
    os.unlink(mount.path / "arrays/y")
    eventually(lambda: in_use() == 0)


def test_array_is_taken_where_it_stands(mount: Mount) -> None:
    mount.add("large.mlir", LARGE)
    w = np.arange(1 << 20, dtype=np.float32)
    (mount.path / "arrays/w").write_bytes(npy(w))
    (mount.path / "programs/large/calls/l").write_text("arrays/w 77\n")
    assert numbers(mount, "results/l") == [77]
    assert mount.keyed("results/l.status")["input_bytes"] == "12"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("arrays/none [1,2,3,4]", "arrays/none"),
        ("results/none [1,2,3,4]", "results/none"),
        ("arrays/i [1,2,3,4]", "input 0 w: expected f32[4], got i32[4] of arrays/i"),
        ("arrays/i.7 [1,2,3,4]", "arrays/i"),
        ("arrays/p [1,2,3,4]", "expected 2 inputs"),
    ],
)
def test_wrong_reference_is_einval_and_names_both(step: Mount, words: str, reason: str) -> None:
    (step.path / "arrays/i").write_text("[1, 2, 3, 4]\n")
    (step.path / "arrays/p").write_bytes(save({n: np.ones(4, np.float32) for n in "ab"}))
    assert refusal(step.path / "programs/step/calls/wrong", words.encode()) == errno.EINVAL
    assert reason in (step.path / "results/wrong.error").read_text()


def test_conversation_takes_references(step: Mount) -> None:
    (step.path / "arrays/w").write_text("[1.0, 2, 3, 4]\n")
    (step.path / "arrays/p").write_bytes(save({n: np.ones(4, np.float32) for n in "ab"}))
    out = step.sh(
        "exec 3<>programs/step/call; echo 'arrays/w [1,1,1,1]' >&3; echo 'arrays/p' >&3; cat <&3"
    ).stdout
    assert out == "[2.0, 3.0, 4.0, 5.0]\n[2.0, 2.0, 2.0, 2.0]\n"


def test_pytree_goes_in_and_out_by_one_name(mount: Mount) -> None:
    mount.add("tree.pkl", made(TREE, "(step, params, np.ones((), np.float32))"))
    params: dict[str, np.ndarray] = {"b": np.zeros(3, np.float16), "w": np.ones((2, 3), np.float32)}
    (mount.path / "arrays/p").write_bytes(save(params))
    for _ in range(3):
        (mount.path / "programs/tree/calls/s").write_text("arrays/p 0.5\n")
        signature = (mount.path / "programs/tree/signature").read_text()
        names = [line.split()[2] for line in signature.splitlines()]
        assert names[-3:-1] == ["result.0.b", "result.0.w"]
        os.rename(mount.path / "results/s.result.0", mount.path / "arrays/p")
        os.unlink(mount.path / "results/s")
    assert np.load(mount.path / "arrays/p.b").tolist() == [1.5] * 3
    found = load((mount.path / "arrays/p.safetensors").read_bytes())
    assert found["w"].tolist() == [[2.5] * 3] * 2


def test_failed_result_does_not_replace_an_array(mount: Mount) -> None:
    mount.add("spin.mlir", SPIN)
    (mount.path / "arrays/w").write_text("[1.5]\n")
    (mount.path / "programs/spin/calls/s").write_text(f"{FOREVER}\n")
    os.link(mount.path / "results/s", mount.path / "arrays/other")
    os.unlink(mount.path / "arrays/other")
    assert mount.keyed("results/s.status")["state"] == "running"
    os.unlink(mount.path / "results/s")
    (mount.path / "programs/spin/calls/s").write_text(f"{FOREVER}\n")
    with pytest.raises(OSError, match="exists"):
        os.link(mount.path / "results/s", mount.path / "arrays/w")
    os.unlink(mount.path / "results/s")
    assert numbers(mount, "arrays/w") == [1.5]


def test_arrays_survive_the_engine(own_mount: Mount) -> None:
    own_mount.add("step.mlir", STEP)
    large = np.arange(1 << 18, dtype=np.float32)
    (own_mount.path / "arrays/large").write_bytes(npy(large))
    (own_mount.path / "arrays/w").write_text("[1.0, 2, 3, 4]\n")
    (own_mount.path / "programs/step/calls/s").write_text("arrays/w arrays/w\n")
    os.rename(own_mount.path / "results/s", own_mount.path / "arrays/w")
    os.kill(int(own_mount.keyed("health")["engine_pid"]), signal.SIGKILL)
    (own_mount.path / "programs/step/calls/s").write_text("arrays/w arrays/w\n")
    assert numbers(own_mount, "results/s") == [4, 8, 12, 16]
    assert np.array_equal(np.load(own_mount.path / "arrays/large"), large)


def test_several_arrays_of_one_upload_are_one_pytree(mount: Mount) -> None:
    x, y = np.ones(70_000, np.float32), np.zeros(3, np.int32)
    (mount.path / "arrays/xy").write_bytes(npy(x) + npy(y))
    assert (mount.path / "arrays/xy").read_bytes() == npy(x) + npy(y)
    assert np.load(mount.path / "arrays/xy.1").tolist() == [0, 0, 0]
    eventually(lambda: mount.keyed("arrays/xy.status")["arrays"] == "2")


def test_reader_gets_one_array_or_the_other_while_it_is_replaced(mount: Mount) -> None:
    contents = [npy(np.full(size, size, np.int32)) for size in (10, 40_000)]
    (mount.path / "arrays/w").write_bytes(contents[0])
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, mount.path / "arrays/w"], stdout=subprocess.PIPE, text=True
    )
    turns = 0
    while reader.poll() is None:
        (mount.path / "arrays/new").write_bytes(contents[turns % 2])
        os.rename(mount.path / "arrays/new", mount.path / "arrays/w")
        turns += 1
    assert reader.stdout is not None
    assert reader.stdout.read() == "fine\n"
    assert reader.returncode == 0


def test_numbers_of_thousands_of_digits_are_names_of_nothing(step: Mount) -> None:
    leaves = {"9" * 5000: np.ones(2, np.float32), "8" * 5000: np.zeros(2, np.float32)}
    assert refusal(step.path / "arrays/p", save(leaves)) == errno.EINVAL
    words = f"arrays/p.{'9' * 6000} [1,2,3,4]\n"
    assert refusal(step.path / "programs/step/calls/n", words.encode()) == errno.EINVAL
    assert step.keyed("health")["internal_errors"] == "0"


@pytest.mark.parametrize("shape", [[0, 2**70], [0, 2**62, 2**62]])
def test_shape_that_no_array_can_have_is_einval(mount: Mount, shape: list[int]) -> None:
    table = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
    header = json.dumps(table).encode()
    data = len(header).to_bytes(8, "little") + header
    assert refusal(mount.path / "arrays/x", data) == errno.EINVAL
    assert mount.keyed("health")["internal_errors"] == "0"


@pytest.mark.parametrize("suffix", ["", ".raw", ".safetensors"])
def test_array_opened_to_be_changed_begins_as_it_is(mount: Mount, suffix: str) -> None:
    path = mount.path / f"arrays/x{suffix}"
    (mount.path / "arrays/x").write_bytes(npy(np.arange(100_000, dtype=np.float32)))
    before = path.read_bytes()
    with path.open("r+b") as file:
        assert file.read() == before
        if suffix != ".raw":
            file.seek(-4, os.SEEK_END)
            file.write(np.float32(7).tobytes())
    assert numbers(mount, "arrays/x")[-1] == (99_999 if suffix == ".raw" else 7)


def test_tensors_that_share_bytes_are_einval(mount: Mount) -> None:
    places = {"a": [0, 8], "b": [4, 12]}
    table = {k: {"dtype": "F32", "shape": [2], "data_offsets": p} for k, p in places.items()}
    header = json.dumps(table).encode()
    data = len(header).to_bytes(8, "little") + header + bytes(12)
    assert refusal(mount.path / "arrays/x", data) == errno.EINVAL
    assert "begins within another" in (mount.path / "arrays/x.error").read_text()
