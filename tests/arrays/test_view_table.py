"""The table of views: one object for each suffix, dropped with the name or the content."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.named import NamedArrays
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.producers import WrittenArrays
from jaxfs.arrays.views import MAX_VIEWS
from jaxfs.errors import Invalid, NotFound
from jaxfs.posix.credentials import InodeAttr
from jaxfs.quotas import Quotas
from jaxfs.testing import open_vfs
from jaxfs.types.avals import parse_aval
from jaxfs.types.signature import Param
from tests.unmounted import npy_of


def written() -> ArrayRef:
    params = (Param("b", parse_aval("f32[2]")), Param("w", parse_aval("f32[2]")))
    producer = WrittenArrays(params, bytes(72))
    producer.done.set()
    return ArrayRef(producer, "arrays/w")


def attr() -> InodeAttr:
    return InodeAttr(1000, 1000, 0o644)


@pytest.fixture
def arrays() -> NamedArrays:
    return NamedArrays(Quotas({}, 1 << 20))


def test_a_suffix_leads_to_the_same_view_each_time(arrays: NamedArrays) -> None:
    w = arrays.put("w", written(), attr(), replace=False)
    view = arrays.views.view(w, "b.txt")
    assert arrays.views.view(w, "b.txt") is view
    assert (view.format, [param.name for param in view.ref.params]) == ("txt", ["b"])
    assert arrays.views.view(w, "txt") is not view


def test_a_renamed_array_keeps_its_views(arrays: NamedArrays) -> None:
    w = arrays.put("w", written(), attr(), replace=False)
    view = arrays.views.view(w, "txt")
    arrays.rename(w, "v", replace=False)
    assert arrays.views.view(w, "txt") is view
    assert not view.is_replaced


def test_views_of_an_array_that_was_removed_or_replaced_are_dropped(arrays: NamedArrays) -> None:
    removed = arrays.put("w", written(), attr(), replace=False)
    replaced = arrays.put("v", written(), attr(), replace=False)
    views = [weakref.ref(arrays.views.view(owner, "txt")) for owner in (removed, replaced)]
    arrays.remove(removed)
    arrays.put("v", written(), attr(), replace=True)
    gc.collect()
    assert [view() for view in views] == [None, None]


def test_a_suffix_that_selects_nothing_has_no_view(arrays: NamedArrays) -> None:
    w = arrays.put("w", written(), attr(), replace=False)
    with pytest.raises(NotFound, match="no array '2' in arrays/w, and no format '2'"):
        arrays.views.view(w, "2")
    with pytest.raises(Invalid, match="nothing was written to it"):
        arrays.views.view(NamedArray("empty", attr()), "txt")


async def test_a_result_keeps_no_more_text_than_it_is_charged_for() -> None:
    """Texts, headers of many arrays and images stayed with a result for as long as it did."""
    numbers = np.arange(3000, dtype=np.float32).reshape(60, 50) / 3
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", npy_of(numbers))
        tracemalloc.start()
        try:
            await mount.client.read("arrays/w.raw")
            before, _ = tracemalloc.get_traced_memory()
            shown_bytes = 0
            for suffix in ("txt", "csv", "json", "png", "npz", "0.txt", "0.csv", "0.json"):
                size = mount.client.stat(f"arrays/w.{suffix}").size
                assert len(await mount.client.read(f"arrays/w.{suffix}")) == size
                shown_bytes += size
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert after - before < shown_bytes / 3


async def test_an_owner_has_a_bounded_number_of_views() -> None:
    async with open_vfs() as mount:
        await mount.client.write("arrays/w", b"".join(npy_of(float(n)) for n in range(200)))
        array = mount.mount.calls.arrays.get("w")
        assert array is not None
        for number in range(200):
            assert await mount.client.read(f"arrays/w.{number}.txt") == f"{number}.0\n".encode()
        table = mount.mount.calls.arrays.views
        assert len(table._views[array]) <= MAX_VIEWS
        await mount.client.read("arrays/w.0.txt")
