"""Extended attributes of results and arrays."""

from __future__ import annotations

from jaxfs.testing import FakeEngines
from tests.unmounted import ADD, PAIR, serving


async def test_a_result_has_a_line_for_each_array() -> None:
    async with serving(pair=PAIR) as mount:
        await mount.client.write("programs/pair/calls/1", "[1, 2] 3")
        assert mount.client.xattrs("results/1") == {
            "user.jaxfs.dtype": b"f32\nf32",
            "user.jaxfs.shape": b"2\n",
            "user.jaxfs.nbytes": b"8\n4",
            "user.jaxfs.device": b"cpu:0",
        }
        assert mount.client.xattrs("results/1.p.b")["user.jaxfs.nbytes"] == b"4"


async def test_arrays_have_them_once_something_was_written() -> None:
    async with serving(add=ADD) as mount:
        file = await mount.client.open_file("arrays/w", 0o101)
        assert mount.client.xattrs("arrays/w") == {}
        await file.write(b"[1.5, 2]")
        await file.close()
        assert mount.client.xattrs("arrays/w")["user.jaxfs.shape"] == b"2"
        assert mount.client.xattrs("arrays/w.json")["user.jaxfs.dtype"] == b"f32"


async def test_an_input_of_its_own_has_them() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/inputs/x", "[1.5, 2]")
        assert mount.client.xattrs("programs/add/inputs/x")["user.jaxfs.nbytes"] == b"8"


async def test_other_files_have_none() -> None:
    async with serving(add=ADD) as mount:
        for path in ("", "version", "programs/add", "programs/add.mlir"):
            assert mount.client.xattrs(path) == {}


async def test_arrays_stay_on_the_host_where_devices_have_their_own_memory() -> None:
    async with serving(add=ADD, engines=FakeEngines(platform="cuda")) as mount:
        await mount.client.write("arrays/w", "[1.5, 2]")
        assert mount.client.xattrs("arrays/w")["user.jaxfs.device"] == b"host"
