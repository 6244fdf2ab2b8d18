"""Programs: written, compiled, replaced, renamed, removed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading

import pytest

from tests.conftest import SAXPY, Mount

DOUBLE = SAXPY.replace("2.0", "4.0")


def refuses(mount: Mount, name: str, source: str | bytes) -> int:
    """The errno that writing a program ends with."""
    with pytest.raises(OSError) as caught:
        mount.add(name, source)
    assert caught.value.errno is not None
    return caught.value.errno


def test_cp_compiles_a_program(mount: Mount) -> None:
    (mount.path.parent / "saxpy.mlir").write_text(SAXPY)
    mount.sh("cp ../saxpy.mlir programs/")
    status = mount.keyed("programs/saxpy/status")
    assert status["state"] == "ready"
    assert status["source_format"] == "stablehlo_text"
    assert int(status["compile_usec"]) > 0


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


def test_bad_program_fails_the_write_with_the_reason_beside_it(mount: Mount) -> None:
    assert refuses(mount, "bad.mlir", "this is not a program") == errno.EINVAL
    assert (mount.path / "programs/bad/error").read_text().startswith("EINVAL: ")
    assert mount.keyed("programs/bad/status")["state"] == "failed"


def test_bad_program_fails_cp(mount: Mount) -> None:
    (mount.path.parent / "bad.mlir").write_text("func.func @main(")
    done = mount.sh("cp ../bad.mlir programs/", check=False)
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr


def test_using_a_broken_program_fails_with_enoexec(mount: Mount) -> None:
    refuses(mount, "bad.mlir", "nothing")
    with pytest.raises(OSError) as caught:
        (mount.path / "programs/bad/calls/j").write_text("1\n")
    assert caught.value.errno == errno.ENOEXEC


def test_failed_overwrite_leaves_the_previous_program_serving(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    assert refuses(mount, "saxpy.mlir", "garbage") == errno.EINVAL
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert (saxpy / "error").read_text().startswith("EINVAL: ")
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


def test_overwrite_replaces_the_program(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    mount.add("saxpy.mlir", DOUBLE)
    assert (saxpy / "error").read_text() == "ok\n"
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/saxpy/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[4.0, 4.0, 4.0, 4.0]"


def test_open_conversation_uses_the_new_version_for_the_next_request(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    fd = os.open(saxpy / "call", os.O_RDWR)
    try:
        os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
        assert os.read(fd, 100) == b"[2.0, 2.0, 2.0, 2.0]\n"
        mount.add("saxpy.mlir", DOUBLE)
        os.write(fd, b"[1,1,1,1] [0,0,0,0]\n")
        assert os.read(fd, 100) == b"[4.0, 4.0, 4.0, 4.0]\n"
    finally:
        os.close(fd)


def test_removing_the_source_removes_the_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    os.unlink(mount.path / "programs/saxpy.mlir")
    assert os.listdir(mount.path / "programs") == []


def test_name_used_again_is_a_new_inode(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    before = (saxpy / "status").stat().st_ino
    os.unlink(mount.path / "programs/saxpy.mlir")
    saxpy = mount.add("saxpy.mlir", DOUBLE)
    assert (saxpy / "status").stat().st_ino != before


def test_staging_file_is_compiled_when_it_is_renamed(mount: Mount) -> None:
    staged = mount.path / "programs/.saxpy.mlir.tmp"
    staged.write_text(SAXPY)
    assert os.listdir(mount.path / "programs") == [".saxpy.mlir.tmp"]
    assert staged.read_text() == SAXPY
    os.rename(staged, mount.path / "programs/saxpy.mlir")
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert sorted(os.listdir(mount.path / "programs")) == ["saxpy", "saxpy.mlir"]


def test_rename_of_a_bad_staging_file_fails_as_its_compile_does(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    staged = mount.path / "programs/.new"
    staged.write_text("garbage")
    with pytest.raises(OSError) as caught:
        os.rename(staged, mount.path / "programs/saxpy.mlir")
    assert caught.value.errno == errno.EINVAL
    assert staged.read_text() == "garbage"
    assert (mount.path / "programs/saxpy.mlir").read_text() == SAXPY
    mount.sh("cat programs/saxpy/status | grep -q 'state ready'")


def test_program_can_be_renamed(mount: Mount) -> None:
    mount.add("a.mlir", SAXPY)
    mount.sh("mv programs/a.mlir programs/b.mlir")
    assert sorted(os.listdir(mount.path / "programs")) == ["b", "b.mlir"]
    mount.sh("echo '[1,1,1,1] [0,0,0,0]' > programs/b/calls/a")
    assert mount.sh("cat results/a.json").stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"


def test_install_and_mv_replace_a_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    (mount.path.parent / "double.mlir").write_text(DOUBLE)
    mount.sh(
        "install -m 644 ../double.mlir programs/.s.mlir && mv programs/.s.mlir programs/saxpy.mlir"
    )
    assert (mount.path / "programs/saxpy.mlir").read_text() == DOUBLE


@pytest.mark.parametrize("name", ["x", "x.exe", "-x.mlir", "a b.mlir", "é.mlir", ".a b"])
def test_other_names_are_refused(mount: Mount, name: str) -> None:
    assert refuses(mount, name, SAXPY) == errno.EINVAL


def test_too_long_a_name_is_refused(mount: Mount) -> None:
    assert refuses(mount, "a" * 130 + ".mlir", SAXPY) == errno.ENAMETOOLONG


def test_one_name_is_one_program(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    assert refuses(mount, "saxpy.mlirbc", SAXPY) == errno.EEXIST


def test_flush_with_nothing_written_does_nothing(mount: Mount) -> None:
    mount.add("saxpy.mlir", SAXPY)
    mount.sh(": >> programs/saxpy.mlir")
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
    assert (mount.path / "programs/saxpy/error").read_text() == "ok\n"


def test_source_may_arrive_in_any_writes_at_any_offsets(mount: Mount) -> None:
    data = SAXPY.encode()
    fd = os.open(mount.path / "programs/saxpy.mlir", os.O_WRONLY | os.O_CREAT)
    half = len(data) // 2
    os.pwrite(fd, data[half:], half)
    for start in range(0, half, 100):
        os.pwrite(fd, data[start : min(start + 100, half)], start)
    os.close(fd)
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"


def test_same_content_compiles_once_whoever_writes_it(mount: Mount) -> None:
    source = SAXPY.replace("@saxpy", "@once").replace("2.0", "3.25")
    threads = [
        threading.Thread(target=mount.add, args=(f"p{number}.mlir", source)) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [mount.keyed(f"programs/p{number}/status") for number in range(8)]
    assert {status["state"] for status in statuses} == {"ready"}
    assert len({status["compile_usec"] for status in statuses}) == 1


def test_stat_answers_while_a_program_compiles(mount: Mount) -> None:
    body = "\n".join(
        f"  %{n + 1} = stablehlo.sine %{n} : tensor<{4 + n % 3 * 0}xf32>" for n in range(3000)
    )
    source = (
        "func.func public @main(%arg0: tensor<4xf32>) -> tensor<4xf32> {\n"
        "  %0 = stablehlo.cosine %arg0 : tensor<4xf32>\n"
        f"{body}\n  return %3000 : tensor<4xf32>\n}}\n"
    )
    writer = threading.Thread(target=mount.add, args=("slow.mlir", source))
    writer.start()
    states = set()
    while writer.is_alive():
        if (mount.path / "programs/slow/status").exists():
            states.add(mount.keyed("programs/slow/status")["state"])
        os.listdir(mount.path)
    writer.join()
    assert "compiling" in states
    assert mount.keyed("programs/slow/status")["state"] == "ready"


def test_directories_cannot_be_made_or_removed(mount: Mount) -> None:
    saxpy = mount.add("saxpy.mlir", SAXPY)
    with pytest.raises(PermissionError):
        os.mkdir(mount.path / "programs/x")
    with pytest.raises(PermissionError):
        os.rmdir(saxpy)
    with pytest.raises(PermissionError):
        os.unlink(saxpy / "status")


def test_rsync_deploys_a_program(mount: Mount) -> None:
    if subprocess.run(["which", "rsync"], capture_output=True, check=False).returncode:
        pytest.skip("rsync is not installed")
    (mount.path.parent / "saxpy.mlir").write_text(SAXPY)
    mount.sh("rsync -a ../saxpy.mlir programs/")
    assert mount.keyed("programs/saxpy/status")["state"] == "ready"
