"""``trace``: the last calls and compiles, as ui.perfetto.dev takes them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from jaxfs.testing import eventually
from tests.conftest import SAXPY, Mount
from tests.e2e.programs import FOREVER, SPIN

STAGES = ["queue", "upload", "run", "download"]
Event = dict[str, Any]


def events(mount: Mount, phase: str = "X") -> list[Event]:
    found = json.loads((mount.path / "trace").read_text())["traceEvents"]
    return [event for event in found if event["ph"] == phase]


def of_call(mount: Mount, name: str) -> dict[str, Event]:
    """The spans of one call by track."""
    return {e["cat"]: e for e in events(mount) if e["args"].get("call") == name}


def end(event: Event) -> int:
    return int(event["ts"] + event["dur"])


def call(mount: Mount, *names: str, program: str = "programs/saxpy") -> None:
    calls = " ".join(f"{program}/calls/{name}" for name in names)
    mount.sh(f"echo '[1,1,1,1] [0,0,0,0]' | tee {calls} > /dev/null")
    mount.sh("cat " + " ".join(f"results/{name}.json" for name in names))


@pytest.fixture
def saxpy(mount: Mount) -> Mount:
    """The mount with a program that was not there before: its compile is in the trace."""
    mount.add("saxpy.mlir", f"{SAXPY}// {os.urandom(8).hex()}\n")
    return mount


def test_stages_of_a_call_follow_one_another_and_sum_to_its_total(saxpy: Mount) -> None:
    call(saxpy, "job1")
    found = of_call(saxpy, "job1")
    assert list(found) == ["front", *STAGES]
    for before, after in pairwise(STAGES):
        assert end(found[before]) == found[after]["ts"]
    assert found["front"]["ts"] <= found["queue"]["ts"]
    assert end(found["front"]) == end(found["download"])
    total = int(saxpy.keyed("programs/saxpy/calls/job1")["total_usec"])
    assert sum(found[stage]["dur"] for stage in STAGES) == total
    assert found["run"]["dur"] == int(saxpy.keyed("programs/saxpy/calls/job1")["run_usec"])
    story = found["front"]["args"]
    assert (story["program"], story["errno"]) == ("programs/saxpy", "")
    assert (story["input_bytes"], story["output_bytes"]) == (len("[1,1,1,1] [0,0,0,0]\n"), 16)


def test_a_conversation_is_traced(saxpy: Mount) -> None:
    request = bytes(32)
    with open(saxpy.path / "programs/saxpy/call.raw", "r+b", buffering=0) as conversation:
        conversation.write(request)
        assert len(conversation.read(16)) == 16
    last = [e for e in events(saxpy) if e["cat"] == "front" and e["name"] != "read"][-1]
    assert last["args"]["call"] == ""
    assert last["args"]["input_bytes"] == len(request)


def threads(found: Iterable[Event]) -> Iterator[list[Event]]:
    by_thread: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in found:
        by_thread[event["pid"], event["tid"]].append(event)
    for spans in by_thread.values():
        yield sorted(spans, key=lambda span: (span["ts"], -span["dur"]))


def test_spans_of_a_thread_nest_or_do_not_meet(saxpy: Mount) -> None:
    call(saxpy, *(f"call{number}" for number in range(40)))
    for spans in threads(events(saxpy)):
        open_ends: list[int] = []
        for span in spans:
            while open_ends and open_ends[-1] <= span["ts"]:
                open_ends.pop()
            assert not open_ends or end(span) <= open_ends[-1]
            open_ends.append(end(span))


def test_every_thread_has_a_name_and_an_order(saxpy: Mount) -> None:
    call(saxpy, "named")
    metadata = events(saxpy, "M")
    named = {(e["pid"], e["tid"]) for e in metadata if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in events(saxpy)} == named
    processes = [e["args"]["name"] for e in metadata if e["name"] == "process_name"]
    assert processes == ["front", "engine", "tracer"]
    tracks = {e["args"]["name"].split()[0] for e in metadata if e["name"] == "thread_name"}
    assert tracks >= {"front", *STAGES, "trace", "compile"}


def test_compiles_are_traced_with_what_they_are_of(saxpy: Mount) -> None:
    call(saxpy, "t1", program="transformations/jit/saxpy")
    digest = saxpy.keyed("programs/saxpy/status")["sha256"]
    jobs = [e for e in events(saxpy) if e["args"].get("sha256") == digest]
    assert [(e["cat"], e["name"], e["args"]["steps"]) for e in jobs] == [
        ("trace", "saxpy", ""),
        ("compile", "saxpy", ""),
        ("trace", "saxpy", "jit"),
        ("compile", "saxpy", "jit"),
    ]
    assert all(e["dur"] > 0 and e["args"]["errno"] == "" for e in jobs)
    with pytest.raises(OSError):
        saxpy.add("bad.mlir", "func.func @main(")
    assert events(saxpy)[-1]["cat"] != "compile"
    assert "EINVAL" in [e["args"].get("errno") for e in events(saxpy) if e["cat"] == "trace"]


def test_trace_has_the_size_that_stat_tells(saxpy: Mount) -> None:
    call(saxpy, "sized")
    size = os.stat(saxpy.path / "trace").st_size
    assert size == len((saxpy.path / "trace").read_bytes())


def test_a_call_that_failed_tells_its_errno(own_mount: Mount) -> None:
    own_mount.remount("call_timeout=0.3")
    own_mount.add("spin.mlir", SPIN)
    own_mount.sh(f"echo {FOREVER} > programs/spin/calls/long; cat results/long", check=False)
    eventually(lambda: bool(of_call(own_mount, "long")))
    assert of_call(own_mount, "long")["front"]["args"]["errno"] == "ETIMEDOUT"
