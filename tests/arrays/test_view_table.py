"""The table of views: one object for each suffix, dropped with the name or the content."""

from __future__ import annotations

import gc
import weakref

import pytest

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.named import NamedArrays
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.producers import WrittenArrays
from jaxfs.errors import Invalid, NotFound
from jaxfs.posix.credentials import InodeAttr
from jaxfs.quotas import Quotas
from jaxfs.types.avals import parse_aval
from jaxfs.types.signature import Param


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
