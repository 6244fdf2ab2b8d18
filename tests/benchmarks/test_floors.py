"""The floors echo, and the C client measures them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from benchmarks.c_compiler import CannotCompile, compile_c
from benchmarks.clients.c_client import CClient
from benchmarks.clients.samples import CallFailed
from benchmarks.peers import EchoC, EchoPyfuse3, EchoPython
from benchmarks.peers.floors import C_SOURCE, Echo
from benchmarks.plan import SMALL, Cell, Client
from benchmarks.process_counters import instructions_available, metered
from benchmarks.transports import OpenFile

MIB = 1 << 20

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("pkg-config") is None,
    reason="there is no C compiler",
)


@pytest.fixture
def echo_c(tmp_path: Path) -> Iterator[OpenFile]:
    """A mounted C floor."""
    with running(EchoC(), tmp_path) as echo:
        yield file_of(echo)


@pytest.fixture
def client(tmp_path: Path) -> CClient:
    return CClient(tmp_path)


def running(echo: Echo, tmp_path: Path) -> AbstractContextManager[Echo]:
    place = tmp_path / echo.name
    place.mkdir()
    return echo.running(place, (SMALL,))


def file_of(echo: Echo, size_bytes: int = SMALL) -> OpenFile:
    endpoint = echo.endpoint(size_bytes)
    assert isinstance(endpoint, OpenFile)
    return endpoint


@pytest.mark.parametrize("kind", [EchoC, EchoPython, EchoPyfuse3])
@pytest.mark.parametrize("size_bytes", [SMALL, 3 * MIB + 4])
def test_floor_gives_back_what_was_written(
    kind: type[Echo], size_bytes: int, tmp_path: Path
) -> None:
    with running(kind(), tmp_path) as echo:
        for message in (os.urandom(size_bytes), os.urandom(size_bytes)):
            with closing(file_of(echo, size_bytes).connect()) as transport:
                assert bytes(transport.call(message)) == message
                assert bytes(transport.call(message)) == message
        assert os.path.ismount(tmp_path / echo.name / "echo")
    assert not os.path.ismount(tmp_path / echo.name / "echo")


def test_floor_has_one_file(echo_c: OpenFile) -> None:
    assert not os.path.exists(echo_c.path + "s")
    assert os.stat(echo_c.path).st_size == 0


@pytest.mark.parametrize("clients", [1, 3])
def test_c_client_returns_the_time_of_each_call(
    echo_c: OpenFile, client: CClient, clients: int
) -> None:
    cell = Cell(SMALL, clients, rounds=1, seconds=0, min_calls=5, client=Client.C)
    sample = client.round(echo_c, cell, {"server": os.getpid()})
    assert len(sample.latencies_ns) == 5 * clients
    assert min(sample.latencies_ns) > 0
    assert sample.ended_ns > sample.began_ns
    assert list(sample.counters) == ["client", "server"]


def test_paced_client_calls_once_a_tick(echo_c: OpenFile, client: CClient) -> None:
    cell = Cell(SMALL, 1, rounds=1, seconds=0.02, client=Client.PACED)
    sample = client.round(echo_c, cell, {})
    assert len(sample.latencies_ns) <= 21


def test_c_client_refuses_another_reply(echo_c: OpenFile, client: CClient) -> None:
    computes = OpenFile(echo_c.path, SMALL, echoes=False)
    with pytest.raises(CallFailed, match="wrong reply"):
        client.round(computes, Cell(SMALL, 1, 1, 0, client=Client.C), {})


def test_c_client_reports_an_error(client: CClient, tmp_path: Path) -> None:
    with pytest.raises(CallFailed, match="No such file"):
        client.round(OpenFile(str(tmp_path / "no"), SMALL), Cell(SMALL, 1, 1, 0), {})


def test_compiler_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotCompile, match="pkg-config does not find no-such-library"):
        compile_c(C_SOURCE, tmp_path / "server", "no-such-library")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotCompile, match="install gcc"):
        compile_c(C_SOURCE, tmp_path / "server")


def test_counters_of_a_process_grow() -> None:
    with metered({"this": os.getpid()}) as counters:
        for _ in range(3):
            os.sched_yield()
            os.waitpid(os.spawnlp(os.P_NOWAIT, "true", "true"), 0)
    used = counters["this"]
    assert used.voluntary_switches + used.involuntary_switches > 0
    assert used.cpu_ns > 0
    assert (used.instructions is not None) == instructions_available()
