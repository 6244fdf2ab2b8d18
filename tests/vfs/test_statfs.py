"""statfs(2): what df(1) shows."""

from __future__ import annotations

from jaxfs.options import Options
from tests.unmounted import serving


async def test_df_shows_the_memory_that_results_may_take() -> None:
    async with serving(Options(max_result_bytes=1000)) as mount:
        await mount.client.write("arrays/w", "[1, 2]")
        assert await mount.client.statfs() == (1000, 992)


async def test_df_shows_the_memory_of_devices_that_report_it() -> None:
    async with serving() as mount:
        mount.engine.memory = {0: {"bytes_limit": 1000, "bytes_in_use": 400}}
        assert await mount.client.statfs() == (1000, 600)
