"""Selecting and converting arrays by suffix."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from safetensors.numpy import load as load_safetensors

from jaxfs.errors import Invalid
from tests.unmounted import PAIR, npy_of, serving

GRID = "[[1.0, 2.0], [3.0, 4.0]]"


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("", npy_of([[1, 2], [3, 4]])),
        (".npy", npy_of([[1, 2], [3, 4]])),
        (".raw", np.array([1, 2, 3, 4], np.float32).tobytes()),
        (".json", b"[[1.0, 2.0], [3.0, 4.0]]\n"),
        (".txt", b"1.0 2.0\n3.0 4.0\n"),
        (".csv", b"1.0,2.0\n3.0,4.0\n"),
        (".0", npy_of([[1, 2], [3, 4]])),
        (".0.txt", b"1.0 2.0\n3.0 4.0\n"),
    ],
)
async def test_an_array_is_read_in_any_format(suffix: str, content: bytes) -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", GRID)
        assert mount.client.stat(f"arrays/w{suffix}").size == len(content)
        assert await mount.client.read(f"arrays/w{suffix}") == content


async def test_archives_have_the_arrays_by_name() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        npz = np.load(io.BytesIO(await mount.client.read("results/1.npz")))
        tensors = load_safetensors(await mount.client.read("results/1.safetensors"))
        for found in (npz, tensors):
            assert {name: found[name].tolist() for name in found} == {"p.w": [1, 2], "p.b": 3}
        assert sorted(load_safetensors(await mount.client.read("results/1.p.safetensors"))) == [
            "b",
            "w",
        ]


async def test_an_image_is_read_as_png() -> None:
    async with serving(same="identity(x: u8[2,2]) -> u8[2,2]") as mount:
        await mount.client.write("programs/same/calls/1", "[[0, 1], [2, 3]]")
        assert (await mount.client.read("results/1.png")).startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", [".png", ".csv"])
async def test_a_format_that_cannot_hold_the_arrays_reports_it(suffix: str) -> None:
    async with serving() as mount:
        await mount.client.write("arrays/w", "[[[1.0]]]")
        with pytest.raises(Invalid):
            await mount.client.read(f"arrays/w{suffix}")


@pytest.mark.parametrize(("word", "value"), [("0", [1, 2]), ("p.w", [1, 2]), ("p.b", 3)])
async def test_a_part_is_named_by_number_or_name(word: str, value: object) -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        assert json.loads(await mount.client.read(f"results/1.{word}.json")) == value


@pytest.mark.parametrize("word", ["2", "00", "9" * 30, "p.", "p.0", "w", "q", ".w"])
async def test_other_words_name_no_part(word: str) -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        assert not mount.client.exists(f"results/1.{word}")


async def test_a_view_is_the_same_inode_while_its_result_lives() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        before = mount.client.stat("results/1.0.txt").ino
        assert mount.client.stat("results/1.0.txt").ino == before
        assert mount.client.stat("results/1.1.txt").ino != before
