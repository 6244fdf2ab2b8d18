"""top, bench and add on a real mount."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from jaxfs.testing import eventually
from mountctl import bench, display, errors, mount_stats, top
from tests.conftest import EXAMPLES, SAXPY, Mount, mountctl, process_of, warm_up
from tests.mountctl.test_mount import run

LIMIT_S = 60


def ask(mount: Mount, times: int) -> None:
    for number in range(times):
        (mount.path / f"programs/saxpy/calls/n{number}").write_text("[1,1,1,1] [0,0,0,0]")
        (mount.path / f"results/n{number}.txt").read_bytes()


@pytest.fixture
def busy(mount: Mount) -> Mount:
    mount.add("saxpy.mlir", (EXAMPLES / "saxpy.mlir").read_text())
    ask(mount, 3)
    return mount


def test_stats_are_those_of_the_files(busy: Mount) -> None:
    found = mount_stats.read(str(busy.path))
    assert found.version == (busy.path / "version").read_text().splitlines()[0]
    assert found.health["state"] == "ok"
    assert found.metrics["jaxfs_programs"] == 1
    assert [device.name for device in found.devices] == ["cpu:0"]
    (program,) = found.programs
    assert (program.name, program.state, program.device) == ("saxpy", "ready", "cpu:0")
    assert (program.calls, program.errors) == (3, 0)
    assert 0 < program.p50_usec <= program.p99_usec
    (user,) = found.users
    size = (busy.path / "results/n0").stat().st_size
    assert (user.results, user.result_bytes) == (3, 3 * size)


def test_top_shows_rates_programs_devices_and_users(busy: Mount) -> None:
    before = mount_stats.read(str(busy.path))
    for number in range(3):
        os.unlink(busy.path / f"results/n{number}")
    ask(busy, 2)
    now = mount_stats.read(str(busy.path))
    shown = io.StringIO()
    Console(file=shown, width=100).print(top.screen(now, before))
    text = shown.getvalue()
    rate = 2 / (now.at_s - before.at_s)
    assert f"calls    {rate:.0f}/s" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("saxpy")]
    assert row[1:6] == ["ready", "cpu:0", f"{rate:.0f}", "5", "0"]
    assert any(line.split()[:3] == ["cpu:0", "cpu", "ok"] for line in text.splitlines())
    assert f"{now.users[0].name} " in text


def test_top_once_and_json_are_for_scripts(busy: Mount) -> None:
    shown = run("top", "--once", "-d", "0.1", busy.path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert str(busy.path) in shown.stdout
    assert "saxpy" in shown.stdout
    assert json.loads(run("top", "--json", busy.path).stdout)["programs"][0]["calls"] == 3


def test_top_draws_in_a_terminal_until_q_is_pressed(busy: Mount) -> None:
    terminal, theirs = pty.openpty()
    command = [*mountctl("top"), "-d", "0.1", str(busy.path)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, env={**os.environ, "TERM": "vt100", "COLUMNS": "90"}
    ) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"saxpy") < 2:
            ready, _, _ = select.select([terminal], [], [], LIMIT_S)
            assert ready, seen
            seen += os.read(terminal, 1 << 16)
        os.write(terminal, b"q")
        while process.poll() is None:
            ready, _, _ = select.select([terminal], [], [], 0.05)
            if ready:
                try:
                    os.read(terminal, 1 << 16)
                except OSError:
                    break
        assert process.wait(LIMIT_S) == 0
    os.close(terminal)


def test_top_without_a_mount_fails(tmp_path: Path) -> None:
    assert run("top", tmp_path).returncode == errors.NotMounted.exit_code


def test_sizes_are_written_for_people() -> None:
    assert [display.size(n) for n in (0, 1023, 1536, 3 << 30)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
    ]


def test_bench_measures_and_leaves_nothing(mount: Mount) -> None:
    found = bench.measure(str(mount.path), 0.05)
    assert 0 < found.call_p50_usec <= found.call_p90_usec <= found.call_p99_usec
    assert 0 < found.floor_p50_usec < found.call_p99_usec
    assert found.clients_calls_per_s > 0
    assert found.throughput_bytes_per_s > 0
    assert list((mount.path / "programs").iterdir()) == []


def test_bench_json_has_every_figure(mount: Mount) -> None:
    found = json.loads(run("bench", "--seconds", "0.02", "--json", mount.path).stdout)
    assert set(found) == set(bench.BenchResult.__struct_fields__)


def test_add_copies_and_waits(mount: Mount) -> None:
    done = run("add", "--to", mount.path, EXAMPLES / "saxpy.mlir")
    assert (done.returncode, done.stdout) == (0, "")
    assert "programs/saxpy" in done.stderr
    assert "state ready" in (mount.path / "programs/saxpy/status").read_text()


def test_add_prints_why_a_program_was_refused_and_adds_the_others(
    mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "bad.mlir").write_text("not a program\n")
    (tmp_path / "no name.mlir").write_text("x")
    files = [tmp_path / "bad.mlir", tmp_path / "no name.mlir", EXAMPLES / "saxpy.mlir"]
    done = run("add", "--to", mount.path, *files)
    assert done.returncode == errors.NotAdded.exit_code
    assert "2 of 3 refused" in done.stderr
    error = (mount.path / "programs/bad/error").read_text().splitlines()[0]
    assert f"bad.mlir: {error}" in done.stderr
    assert "no name.mlir: Invalid argument" in done.stderr
    assert (mount.path / "programs/saxpy").is_dir()


def until_shown(terminal: int, words: bytes) -> None:
    seen = b""
    while words not in seen:
        ready, _, _ = select.select([terminal], [], [], LIMIT_S)
        assert ready, seen
        seen += os.read(terminal, 1 << 16)


@pytest.fixture
def stopped(mount: Mount) -> Iterator[int]:
    """Yields a stopped zygote: compiles do not end before it gets SIGCONT."""
    warm_up(mount)
    zygote = process_of("jaxfs.compiler.zygote.main", mount)
    os.kill(zygote, signal.SIGSTOP)
    try:
        yield zygote
    finally:
        os.kill(zygote, signal.SIGCONT)


def test_status_tells_phase_and_time_of_a_compile_under_way(mount: Mount, stopped: int) -> None:
    with ThreadPoolExecutor() as pool:
        added = pool.submit(mount.add, "saxpy.mlir", f"{SAXPY}// {os.urandom(8).hex()}\n")
        eventually((mount.path / "programs/saxpy").is_dir)
        eventually(lambda: mount.keyed("programs/saxpy/status")["compile_phase"] == "trace")
        before = int(mount.keyed("programs/saxpy/status")["compile_elapsed_usec"])
        later = mount.keyed("programs/saxpy/status")
        assert later["state"] == "compiling"
        assert int(later["compile_elapsed_usec"]) > before > 0
        found = mount_stats.read(str(mount.path))
        assert [program.compile_phase for program in found.programs] == ["trace"]
        shown = io.StringIO()
        Console(file=shown, width=120).print(top.screen(found, found))
        assert re.search(r"compiling: trace \d+ s", shown.getvalue())
        os.kill(stopped, signal.SIGCONT)
        added.result(LIMIT_S)
    ended = mount.keyed("programs/saxpy/status")
    assert (ended["state"], ended["compile_phase"]) == ("ready", "")
    assert ended["compile_elapsed_usec"] == "0"


def test_add_shows_in_a_terminal_what_it_waits_for(
    mount: Mount, stopped: int, tmp_path: Path
) -> None:
    source = tmp_path / "waits.mlir"
    source.write_text(f"{SAXPY}// {os.urandom(8).hex()}\n")
    terminal, theirs = pty.openpty()
    command = [*mountctl("add"), "--to", str(mount.path), str(source)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        until_shown(terminal, b"reading and lowering")
        os.kill(stopped, signal.SIGCONT)
        until_shown(terminal, b"programs/waits")
        assert process.wait(LIMIT_S) == 0
    os.close(terminal)
    assert mount.keyed("programs/waits/status")["state"] == "ready"


def test_add_is_ended_by_ctrl_c_while_it_waits(mount: Mount, stopped: int, tmp_path: Path) -> None:
    source = tmp_path / "waits.mlir"
    source.write_text(f"{SAXPY}// {os.urandom(8).hex()}\n")
    terminal, theirs = pty.openpty()
    command = [*mountctl("add"), "--to", str(mount.path), str(source)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        until_shown(terminal, b"reading and lowering")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == errors.Interrupted.exit_code
    os.close(terminal)
