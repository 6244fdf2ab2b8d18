"""Writing arrays/<name>."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import trio
from safetensors.numpy import save as save_safetensors

from jaxfs.errors import Cancelled, Invalid, NameTaken, NoSpace, OverQuota
from jaxfs.options import Options
from tests.unmounted import ADD, DOUBLE, npy_of, serving

W, B = np.array([[1, 2], [3, 4]], np.float32), np.array([5, 6], np.float32)


def npz_of(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("w", npy_of(W)),
        ("w.npy", npy_of(W)),
        ("w", npz_of(w=W)),
        ("w.npz", npz_of(w=W)),
        ("w", save_safetensors({"w": W})),
        ("w.safetensors", save_safetensors({"w": W})),
        ("w", b"[[1.0, 2], [3, 4]]"),
        ("w.json", b"[[1.0, 2], [3, 4]]"),
    ],
)
async def test_an_array_is_written_in_any_format_that_has_its_type(name: str, data: bytes) -> None:
    async with serving() as mount:
        await mount.client.write(f"arrays/{name}", data)
        assert mount.client.ls("arrays") == ["w"]
        assert await mount.client.read("arrays/w.raw") == W.tobytes()
        assert await mount.client.text("arrays/w.shape") == "2 2\n"
        assert await mount.client.text("arrays/w.dtype") == "f32\n"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("w", b"words", "words"),
        ("w", npy_of(W)[:100], "npy"),
        ("w.npz", npy_of(W), "npz"),
        ("w.raw", W.tobytes(), "raw"),
        ("w", b"arrays/nothing", "there is no arrays/nothing"),
        ("w", b"[[1, 2], [3]]", "."),
        (
            "w",
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, "
            b"'shape': (4611686018427387904, 0), }" + b" " * 40 + b"\n",
            "too large",
        ),
    ],
)
async def test_what_is_no_array_is_refused_with_the_reason(
    name: str, data: bytes, reason: str
) -> None:
    async with serving() as mount:
        with pytest.raises(Invalid, match=reason):
            await mount.client.write(f"arrays/{name}", data)
        assert (await mount.client.text("arrays/w.error")).startswith("EINVAL")
        assert (await mount.client.keyed("arrays/w.status"))["state"] == "failed"
        with pytest.raises(Invalid, match="arrays/w is empty"):
            await mount.client.read("arrays/w")
        assert mount.engine.pool.used_bytes == 0


@pytest.mark.parametrize("name", ["a.b", "w.txt", "bad name", "w.npy.npy"])
async def test_names_of_arrays_have_no_dot(name: str) -> None:
    async with serving() as mount:
        with pytest.raises(Invalid):
            await mount.client.write(f"arrays/{name}", "[1]")


async def test_a_failed_write_leaves_what_was_there() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", "[1, 2]")
        with pytest.raises(Invalid):
            await mount.client.write("arrays/w", "nothing to see")
        assert await mount.client.read("arrays/w.json") == b"[1, 2]\n"
        assert (await mount.client.keyed("arrays/w.status"))["state"] == "ready"
        assert (await mount.client.text("arrays/w.error")).startswith("EINVAL")
        await mount.client.write("arrays/w", "[3]")
        assert await mount.client.text("arrays/w.error") == "ok\n"


async def test_a_replaced_array_is_another_inode_and_frees_the_old_one() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(100_000)))
        before = mount.client.stat("arrays/w").ino
        assert not mount.vfs.is_outdated(before)
        view = mount.client.stat("arrays/w.json").ino
        used = mount.engine.pool.used_bytes
        await mount.client.write("arrays/w", npy_of(np.zeros(100_000)))
        assert mount.client.stat("arrays/w").ino != before
        assert mount.vfs.is_outdated(before)
        assert mount.vfs.is_outdated(view)
        assert mount.engine.pool.used_bytes == used


async def test_a_pytree_has_its_leaves_in_jaxs_order() -> None:
    async with serving() as mount:
        leaves = {f"p.{n}": np.array([n], np.float32) for n in (10, 2, 1)}
        await mount.client.write("arrays/tree", save_safetensors(leaves))
        expected = np.array([1, 2, 10], np.float32)
        assert await mount.client.read("arrays/tree.raw") == expected.tobytes()
        status = await mount.client.keyed("arrays/tree.status")
        assert (status["arrays"], status["nbytes"], status["names"]) == ("3", "12", "1")
        assert await mount.client.read("arrays/tree.p.2.json") == b"[2.0]\n"


async def test_a_large_pytree_is_put_together_in_shared_memory() -> None:
    async with serving() as mount:
        tree = {"a": np.ones(100_000, "float32"), "b": np.ones(3, "float32")}
        await mount.client.write("arrays/tree", save_safetensors(tree))
        assert len(await mount.client.read("arrays/tree.b.raw")) == 12
        medium = {"a": np.ones(5000, "float32"), "b": np.ones(3, "float32")}
        await mount.client.write("arrays/medium", save_safetensors(medium))
        for name in ("tree", "medium"):
            mount.client.unlink(f"arrays/{name}")
        assert mount.engine.pool.used_bytes == 0


async def test_a_reference_gives_what_it_names_another_name() -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.write("arrays/v", "[1.0, 2.0]")
        await mount.client.write("arrays/w", "arrays/v\n")
        assert mount.client.stat("arrays/w").nlink == 2
        mount.engine.hold()
        await mount.client.write("programs/double/calls/1", "arrays/w")
        await mount.client.write("arrays/later", "results/1")
        assert (await mount.client.keyed("arrays/later.status"))["state"] == "pending"
        with pytest.raises(Invalid, match="by itself"):
            await mount.client.write("arrays/both", "results/1 arrays/v")
        mount.engine.release()
        assert await mount.client.read("arrays/later.json") == b"[2.0, 4.0]\n"


async def test_several_references_are_copied_together() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/v", "[1, 2]")
        await mount.client.write("arrays/w", "arrays/v arrays/v 7")
        assert await mount.client.text("arrays/w.nbytes") == "8\n8\n4\n"


async def test_an_array_that_failed_to_be_made_reports_it() -> None:
    async with serving(double=DOUBLE) as mount:
        mount.engine.hold()
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        await mount.client.write("arrays/w", "results/1")
        mount.engine.fail()
        assert (await mount.client.keyed("arrays/w.status"))["state"] == "failed"
        assert (await mount.client.text("arrays/w.error")).startswith("EIO")


async def test_an_array_may_be_changed_in_place() -> None:
    async with serving(double=DOUBLE) as mount:
        await mount.client.write("arrays/w", npy_of([1, 2]))
        async with mount.client.open("arrays/w", os.O_RDWR) as file:
            header = len(await file.read_all()) - 8
            await file.pwrite(header, np.float32(9).tobytes())
        assert await mount.client.read("arrays/w.json") == b"[9.0, 2.0]\n"
        mount.engine.hold()
        await mount.client.write("programs/double/calls/1", "[1, 2]")
        mount.client.link("results/1", "arrays/later")
        async with mount.client.open("arrays/later", os.O_WRONLY) as file:
            await file.write(npy_of([7]))
        assert await mount.client.read("arrays/later.json") == b"[7.0]\n"


async def test_an_array_removed_while_it_is_written_takes_nothing() -> None:
    async with serving() as mount:
        file = await mount.client.open_file("arrays/w", os.O_CREAT | os.O_WRONLY)
        await file.write(npy_of(np.ones(100_000)))
        mount.client.unlink("arrays/w")
        with pytest.raises(Cancelled, match="removed before it was written"):
            await file.close()
        assert mount.engine.pool.used_bytes == 0


async def test_a_name_is_taken_once() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", "[1]")
        with pytest.raises(NameTaken):
            await mount.client.open_file("arrays/w", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


async def test_arrays_count_for_the_writers_share_and_the_mounts() -> None:
    async with serving(Options(max_result_bytes=60_000, max_bytes_per_user=50_000)) as mount:
        await mount.client.write("arrays/a", npy_of(np.ones(5000)))
        with pytest.raises(OverQuota):
            await mount.client.write("arrays/b", npy_of(np.ones(5000)))
        for uid in (1001, 1002):
            await mount.user(uid).write(f"arrays/w{uid}", npy_of(np.ones(4000)))
        with pytest.raises(NoSpace):
            await mount.user(1003).write("arrays/c", npy_of(np.ones(4000)))
        mount.client.unlink("arrays/a")
        await mount.user(1003).write("arrays/c", npy_of(np.ones(4000)))


async def test_text_too_large_for_the_event_loop_is_read_in_a_thread() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", str([0.5] * 100_000))
        assert await mount.client.text("arrays/w.shape") == "100000\n"
        assert mount.client.stat("arrays/w.txt").size == 0
        assert len(await mount.client.text("arrays/w.txt")) == 400_000
        assert mount.client.stat("arrays/w.txt").size == 400_000


async def test_an_open_array_is_read_to_its_end_after_it_was_replaced() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", npy_of(np.ones(100_000)))
        async with mount.client.open("arrays/w.raw") as file:
            await mount.client.write("arrays/w", "[1]")
            assert len(await file.read_all()) == 400_000
        await trio.testing.wait_all_tasks_blocked()
        assert mount.engine.pool.used_bytes == 0


async def test_an_empty_array_is_an_array() -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", npy_of([]))
        assert await mount.client.read("arrays/w.raw") == b""
        assert await mount.client.read("arrays/w") == npy_of([])
