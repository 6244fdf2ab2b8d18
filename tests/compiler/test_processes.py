"""A job may crash, hang or be killed; other jobs and later ones do not notice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from jaxfs.compiler.client.client import CompilerClient, open_compiler
from jaxfs.compiler.zygote.job import LONG_NICENESS, NICENESS
from jaxfs.errors import Invalid, RunFailed, TimedOut
from jaxfs.testing import eventually_async
from tests.compiler.conftest import SAXPY, BlockingTracer, compile_cpu, trace
from tests.conftest import descriptors_of

# Half a second of the compiler's time: long enough to meet its process.
STEPS = 1000
LONG = (
    "func.func @main(%0: tensor<8x8xf32>) -> tensor<8x8xf32> {\n"
    + "".join(
        f"  %d{i} = stablehlo.dot %{i}, %{i} : (tensor<8x8xf32>, tensor<8x8xf32>)"
        f" -> tensor<8x8xf32>\n  %{i + 1} = stablehlo.tanh %d{i} : tensor<8x8xf32>\n"
        for i in range(STEPS)
    )
    + f"  return %{STEPS} : tensor<8x8xf32>\n}}\n"
)


def with_client(test: Callable[[CompilerClient], Awaitable[None]], **options: Any) -> None:
    """Run an async test with a compiler of its own."""

    async def main() -> None:
        async with open_compiler(**options) as client:
            await test(client)

    trio.run(main)


def children(pid: int, thread: int | None = None) -> list[int]:
    """The processes a thread of ``pid`` (its first one) has forked."""
    names = Path(f"/proc/{pid}/task/{thread or pid}/children").read_text()
    return [int(name) for name in names.split()]


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def end_a_child(client: CompilerClient, number: signal.Signals) -> None:
    """What a crash looks like from outside; which programs crash XLA differs by version."""
    await eventually_async(lambda: children(client.pid))
    os.kill(children(client.pid)[0], number)


def test_compiler_crash_is_reported_and_costs_one_job() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        zygote = client.pid
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_a_child, client, signal.SIGSEGV)
            with pytest.raises(Invalid, match=r"the compiler crashed on this program \(SIGSEGV\)"):
                await compile_cpu(client, artifact, traced.signature)
        assert (await trace(client, SAXPY))[0].source_format == "stablehlo_text"
        assert client.pid == zygote

    with_client(test)


def test_crash_does_not_disturb_jobs_beside_it() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        ends: list[str] = []

        async def work() -> None:
            try:
                await compile_cpu(client, artifact, traced.signature)
                ends.append("worked")
            except Invalid:
                ends.append("crashed")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(work)
            nursery.start_soon(end_a_child, client, signal.SIGABRT)
        assert sorted(ends) == ["crashed", "worked", "worked"]
        assert client.restarts == 0

    with_client(test, limit=3)


def test_jobs_wait_their_turn_and_all_get_their_own_answer() -> None:
    async def test(client: CompilerClient) -> None:
        answers: dict[int, str] = {}
        most = 0

        async def job(size: int) -> None:
            traced, _, _ = await trace(client, SAXPY.replace("16x", f"{size}x"))
            answers[size] = traced.signature.text().splitlines()[0]

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, len(children(client.pid)))
                await trio.sleep(0.001)

        await client.start()
        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as nursery:
                for size in range(1, 9):
                    nursery.start_soon(job, size)
            watching.cancel_scope.cancel()
        assert answers == {size: f"in 0 x f32[{size}]" for size in range(1, 9)}
        assert most <= 2

    with_client(test, limit=2)


def test_deadline_ends_the_process() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        with pytest.raises(TimedOut, match="compiling took over 0 s"):
            await compile_cpu(client, artifact, traced.signature, deadline_s=0)
        assert children(client.pid) == []
        assert (await trace(client, SAXPY))[0].signature.inputs[0].name == "x"

    with_client(test)


def test_cancelled_job_ends_its_process() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compile_cpu, client, artifact, traced.signature)
            await eventually_async(lambda: children(client.pid))
            nursery.cancel_scope.cancel()
        assert children(client.pid) == []

    with_client(test)


def test_killed_child_is_reported_and_not_blamed_on_the_program() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_a_child, client, signal.SIGKILL)
            with pytest.raises(RunFailed, match=r"the compiler was ended \(SIGKILL\)"):
                await compile_cpu(client, artifact, traced.signature)

    with_client(test)


def test_job_survives_the_zygotes_death() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        first = client.pid

        async def kill() -> None:
            await eventually_async(lambda: children(first))
            os.kill(first, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            compiled, _, _ = await compile_cpu(client, artifact, traced.signature)
        assert compiled.memory["output_bytes"] == 8 * 8 * 4
        assert client.restarts == 1
        assert client.pid != first

    with_client(test)


def test_job_that_sees_two_zygotes_die_is_given_up() -> None:
    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)

        async def kill_twice() -> None:
            first = client.pid
            await eventually_async(lambda: children(first))
            os.kill(first, signal.SIGKILL)
            await eventually_async(lambda: client.pid != first and children(client.pid))
            os.kill(client.pid, signal.SIGKILL)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_twice)
            with pytest.raises(RunFailed, match="the tracer died 2 times"):
                await compile_cpu(client, artifact, traced.signature)
        assert (await trace(client, SAXPY))[0].signature.inputs[1].name == "y"

    with_client(test)


def test_front_side_imports_no_jax() -> None:
    code = (
        "import sys, jaxfs.compiler.client.client; assert not {'jax', 'jaxlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_zygote_is_forked_by_the_thread_that_lives_as_long_as_the_front() -> None:
    """prctl's parent-death signal comes when the forking thread ends; trio's workers do."""

    async def test(client: CompilerClient) -> None:
        await client.start()
        assert client.pid in children(os.getpid(), threading.get_native_id())

    with_client(test)


def test_zygote_is_one_thread_and_leaves_nothing_behind() -> None:
    async def test(client: CompilerClient) -> None:
        before = client.state
        assert before == "idle"
        traced, artifact, _ = await trace(client, LONG)
        assert client.state == "ready"
        zygote = client.pid
        assert len(os.listdir(f"/proc/{zygote}/task")) == 1
        files = descriptors_of(zygote)
        await trace(client, SAXPY)
        await eventually_async(lambda: not descriptors_of(zygote) - files)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compile_cpu, client, artifact, traced.signature)
            await eventually_async(lambda: children(zygote))
            child = children(zygote)[0]
            nursery.cancel_scope.cancel()
        await client.close()
        assert is_gone(zygote)
        assert is_gone(child)

    with_client(test)


def test_executable_is_for_the_device_it_was_asked_for(tracer: BlockingTracer) -> None:
    traced, artifact, _ = tracer.trace(SAXPY)
    first, other = (
        tracer.run(compile_cpu, artifact, traced.signature, ((number,), 4)) for number in (0, 3)
    )
    assert first[1] != other[1]
    assert first[0].memory["argument_bytes"] == 128
    assert first[0].cost["flops"] == 32
    assert b"ENTRY" in first[2]


def test_a_daemon_that_runs_under_nice_compiles_too() -> None:
    code = (
        "from tests.compiler.test_processes import *\n"
        "async def test(client): await trace(client, SAXPY)\n"
        "with_client(test)\n"
    )
    subprocess.run(["nice", "-n", "19", sys.executable, "-c", code], check=True)


def test_a_long_job_gives_way_to_shorter_ones() -> None:
    def niceness(pid: int) -> set[int]:
        tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
        return {os.getpriority(os.PRIO_PROCESS, tid) for tid in tasks}

    async def test(client: CompilerClient) -> None:
        traced, artifact, _ = await trace(client, LONG)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(compile_cpu, client, artifact, traced.signature)
            await eventually_async(lambda: children(client.pid))
            job = children(client.pid)[0]
            os.kill(job, signal.SIGSTOP)  # however fast this machine is, it is long now
            await eventually_async(lambda: niceness(job) == {LONG_NICENESS})
            assert max(niceness(client.pid)) < NICENESS < LONG_NICENESS
            assert (await trace(client, SAXPY))[0].source_format == "stablehlo_text"
            os.kill(job, signal.SIGCONT)

    with_client(test)
