"""Pickled functions as programs: their types come with the call."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from jaxfs.testing import eventually
from tests.conftest import Mount, mounting
from tests.e2e.programs import made
from tests.e2e.test_permissions import ALICE, as_user

CALL = "echo '{1}' > programs/{0}/calls/{2} && cat results/{2}.json"


def poly() -> bytes:
    return made("def poly(x, y): return 2 * x + y", "poly")


@pytest.fixture(scope="module")
def open_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    root = tmp_path_factory.mktemp("pickles")
    for folder in [root, *root.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    with mounting(root, "allow_other") as mount:
        yield mount


def test_a_pickled_function_is_specialized_by_the_types_of_each_call(mount: Mount) -> None:
    program = mount.add("poly.pkl", poly())
    assert mount.keyed("programs/poly/status")["state"] == "untyped"
    assert (program / "signature").read_text() == "in 0 x ?\nin 1 y ?\n"
    assert mount.sh(CALL.format("poly", "[1, 2.5] 1.5", "p1")).stdout == "[3.5, 6.5]\n"
    assert mount.sh(CALL.format("poly", "3 4", "p2")).stdout == "10\n"
    assert sorted(os.listdir(program / "specializations")) == ["f32_2-f32", "i32-i32"]
    signature = (program / "specializations/f32_2-f32/signature").read_text()
    assert signature.startswith("in 0 x f32[2]\nin 1 y f32[]\nout 0 ")
    assert "stablehlo.add" in (program / "specializations/i32-i32/stablehlo.mlir").read_text()


def test_numpy_files_say_their_types(mount: Mount, tmp_path: Path) -> None:
    mount.add("poly.pkl", poly())
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    np.save(tmp_path / "y.npy", np.ones(3, np.float32))
    mount.sh(f"cat {tmp_path}/x.npy {tmp_path}/y.npy > programs/poly/calls/n1")
    got = np.load(mount.path / "results/n1")
    assert got.dtype == np.float32
    assert got.tolist() == [[1, 3, 5], [7, 9, 11]]


def test_an_untyped_conversation_answers_when_reading_begins(mount: Mount) -> None:
    mount.add("poly.pkl", poly())
    fd = os.open(mount.path / "programs/poly/call", os.O_RDWR)
    for text, answer in ((b"1.5 2\n", b"5.0\n"), (b"[1, 2] 3\n", b"[5, 7]\n")):
        os.write(fd, text)
        assert os.read(fd, 100) == answer
    os.close(fd)


def test_types_written_to_signature_compile_ahead(mount: Mount) -> None:
    program = mount.add("poly.pkl", poly())
    (program / "signature").write_text("f32[4] f32[4]\n")
    assert os.listdir(program / "specializations") == ["f32_4-f32_4"]
    assert mount.keyed("programs/poly/specializations/f32_4-f32_4/status")["state"] == "ready"


def test_a_specialization_is_a_program(mount: Mount) -> None:
    program = mount.add("poly.pkl", poly())
    (program / "signature").write_text("f32[2] f32[2]\n")
    here = "poly/specializations/f32_2-f32_2"
    assert mount.sh(CALL.format(here, "[1,2] [3,4]", "s1")).stdout == "[5.0, 8.0]\n"


def test_a_function_with_example_arguments_has_types(mount: Mount) -> None:
    body = "def net(params, x): return jnp.tanh(x @ params['w'] + params['b'])"
    value = "(net, {'w': jnp.ones((3, 2)), 'b': np.zeros(2, np.float32)}, jnp.ones((4, 3)))"
    program = mount.add("net.pkl", made(body, value))
    assert mount.keyed("programs/net/status")["state"] == "ready"
    assert (program / "signature").read_text() == (
        "in 0 params.b f32[2]\nin 1 params.w f32[3,2]\nin 2 x f32[4,3]\nout 0 result f32[4,2]\n"
    )


def test_closures_over_arrays_are_part_of_the_program(mount: Mount) -> None:
    body = "w = np.arange(4, dtype=np.float32)\ndef f(x): return (w * x).sum()"
    mount.add("closed.pkl", made(body, "f"))
    assert mount.sh(CALL.format("closed", "2.0", "c1")).stdout == "12.0\n"


def test_an_overwritten_function_is_specialized_again(mount: Mount) -> None:
    program = mount.add("f.pkl", poly())
    assert mount.sh(CALL.format("f", "1 1", "o1")).stdout == "3\n"
    mount.add("f.pkl", made("def poly(x, y): return 5 * x + y", "poly"))
    assert os.listdir(program / "specializations") == []
    assert mount.sh(CALL.format("f", "1 1", "o2")).stdout == "6\n"


def test_options_of_the_jit_stand_in_the_options_file(mount: Mount) -> None:
    body = "def power(x, n): return x ** n"
    program = mount.add("power.pkl", made(body, "(power, jnp.ones(2), 3)"))
    assert mount.sh(CALL.format("power", "[2, 3] 3", "w1")).stdout == "[8.0, 27.0]\n"
    (program / "options").write_text("static_argnums 1\n")
    assert (program / "options").read_text() == "static_argnums 1\n"
    assert (program / "signature").read_text() == "in 0 x f32[2]\nout 0 result f32[2]\n"
    assert mount.sh(CALL.format("power", "[2, 3]", "w2")).stdout == "[8.0, 27.0]\n"
    with pytest.raises(OSError) as caught:
        (program / "options").write_text("no_such_option 1\n")
    assert caught.value.errno == errno.EINVAL
    assert (program / "options").read_text() == "static_argnums 1\n"


def test_python_errors_are_told_like_python_tells_them(mount: Mount) -> None:
    body = "def inner(x):\n    return x @ jnp.ones((3, 3))\ndef outer(x):\n    return inner(x) + 1"
    mount.add("bad.pkl", made(body, "outer"))
    done = mount.sh("/bin/echo '[1.0, 2.0]' > programs/bad/calls/e1", check=False)
    assert "Invalid argument" in done.stderr
    told = (mount.path / "results/e1.error").read_text()
    assert told.startswith("EINVAL: TypeError: ")
    assert "in inner" in told
    assert "in outer" in told
    assert "line " in told
    assert "jax/_src" not in told


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (pickle.dumps([1, 2, 3]), "callable"),
        (cloudpickle.dumps(lambda: 1)[:-20], "pickle"),
        (b"\x80\x04cno_such_module\nthing\n.", "no_such_module"),
    ],
)
def test_what_is_no_pickled_function_is_refused_in_words(
    mount: Mount, data: bytes, words: str
) -> None:
    with pytest.raises(OSError) as caught:
        mount.add("no.pkl", data)
    assert caught.value.errno == errno.EINVAL
    assert words in (mount.path / "programs/no/error").read_text()


def test_specializations_outlive_the_daemon(own_mount: Mount) -> None:
    own_mount.add("poly.pkl", poly())
    assert own_mount.sh(CALL.format("poly", "1 1", "r1")).stdout == "3\n"
    own_mount.remount()
    assert os.listdir(own_mount.path / "programs/poly/specializations") == ["i32-i32"]
    status = own_mount.keyed("programs/poly/specializations/i32-i32/status")
    assert status["state"] == "ready"
    assert own_mount.sh(CALL.format("poly", "1 1", "r2")).stdout == "3\n"


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_only_the_mounting_user_may_write_pickles(open_mount: Mount) -> None:
    source = open_mount.path.parent / "poly.pkl"
    source.write_bytes(poly())
    source.chmod(0o644)
    open_mount.add("poly.pkl", poly())
    done = as_user(ALICE, open_mount, "cp ../poly.pkl programs/mine.pkl")
    assert "Permission denied" in done.stderr
    told = as_user(ALICE, open_mount, "cat programs/mine/error").stdout
    assert told.startswith("EACCES: ")
    assert "pickle=all" in told
    done = as_user(ALICE, open_mount, CALL.format("poly", "1 1", "a1"))
    assert done.stdout == "3\n"


@pytest.mark.skipif(os.getuid() != 0, reason="other users need root")
def test_pickle_all_takes_everybodys_and_off_nobodys(own_mount: Mount, tmp_path: Path) -> None:
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    (tmp_path / "poly.pkl").write_bytes(poly())
    own_mount.remount("allow_other,pickle=all")
    done = as_user(ALICE, own_mount, "cp ../poly.pkl programs/mine.pkl")
    assert done.returncode == 0, done.stderr
    assert as_user(ALICE, own_mount, CALL.format("mine", "1 1", "a1")).stdout == "3\n"
    own_mount.remount("allow_other,pickle=off")
    with pytest.raises(PermissionError):
        own_mount.add("other.pkl", poly())


def test_the_tracer_starts_at_the_first_need_or_when_asked(own_mount: Mount) -> None:
    assert own_mount.keyed("health")["tracer"] == "idle"
    own_mount.add("poly.pkl", poly())
    assert own_mount.keyed("health")["tracer"] == "ready"
    assert {"landlock", "seccomp"} <= {
        layer.partition(":")[0] for layer in own_mount.keyed("health")["sandbox"].split(",")
    }
    own_mount.remount("zygote=eager")
    eventually(lambda: own_mount.keyed("health")["tracer"] == "ready")
