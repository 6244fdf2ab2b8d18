"""The state directory: what is damaged there is passed over, and the rest is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from jaxfs.compiler.job_protocol import Compiled
from jaxfs.programs.store import Store
from jaxfs.programs.stored_records import LinkRecord

DAMAGED = {
    "cut short": b'{"name": "a"',
    "another type": b"[1, 2]",
    "not UTF-8": b'{"name": "\xff\xfe", "target": "b", "uid": 0, "gid": 0}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_record_is_passed_over(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    good = LinkRecord("link", "target", 0, 0)
    store.put_link(good)
    (written,) = (tmp_path / "links").glob("*.json")
    written.with_name("aaa.json").write_bytes(DAMAGED[name])
    assert store.links() == [good]


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_description_of_an_entry_is_no_entry(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    store.put_entry("executables", "ab" * 32, Compiled(1, {}, {}), {})
    (store.entry("executables", "ab" * 32) / "info.json").write_bytes(DAMAGED[name])
    assert store.info("executables", "ab" * 32, Compiled) is None
