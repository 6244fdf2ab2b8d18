"""A reference to many arrays takes a step for each, not for each pair."""

from __future__ import annotations

import json
import struct

import pytest

from jaxfs.arrays import producers
from jaxfs.arrays.array_refs import ArrayRef, leaf_order
from jaxfs.testing import open_vfs
from jaxfs.types.memory_layout import output_offsets
from jaxfs.types.signature import Signature


@pytest.mark.parametrize("prefix", ["", "p.", "model.layers."])
def test_leaves_are_matched_by_name_below_a_common_prefix(prefix: str) -> None:
    leaves = [f"w{n}.b" for n in range(5)]
    names = [prefix + leaf for leaf in reversed(leaves)]
    assert list(leaf_order(names, leaves)) == [4, 3, 2, 1, 0]
    assert list(leaf_order([*names[1:], "q.w4.b"], leaves)) == list(range(5))
    assert list(leaf_order(names[1:], leaves)) == list(range(5))


async def test_the_places_of_many_arrays_are_worked_out_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 12_000  # as the experts of a large model
    entries = {
        f"e{n:05d}.w": {"dtype": "F32", "shape": [], "data_offsets": [4 * n, 4 * n + 4]}
        for n in range(count)
    }
    header = json.dumps(entries).encode()
    data = struct.pack(f"<Q{len(header)}s{count}f", len(header), header, *range(count))
    async with open_vfs() as mount:
        await mount.client.write("arrays/moe.safetensors", data)
        assert await mount.client.text("arrays/moe.e11999.w.txt") == "11999.0\n"
        array = mount.mount.calls.arrays.get("moe")
        assert array is not None
        worked_out = 0

        def counted(signature: Signature) -> tuple[tuple[int, ...], int]:
            nonlocal worked_out
            worked_out += 1
            return output_offsets(signature)

        monkeypatch.setattr(producers, "output_offsets", counted)
        chosen = ArrayRef(array.content().producer, "arrays/moe", tuple(range(count)))
        for number in range(0, count, 10):
            assert chosen.input(number, mount.engine.pool) == struct.pack("<f", number)
        assert worked_out <= 1
