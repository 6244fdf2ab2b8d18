"""Taking the kernel's next request without a turn of the event loop."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, trio, jaxfs.fuse
from jaxfs.fuse.request_loop import RequestWaiter

async def main():
    theirs, ours = os.pipe()
    requests, seen = RequestWaiter(), []
    async def reader():
        for _ in range(20):
            await requests.wait_readable(theirs)
            seen.append(os.read(theirs, 1))
            await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        for number in range(20):  # late, so that standing still is in vain; then many at once
            if number < 10:
                await trio.sleep(0.001)
            os.write(ours, bytes([number]))
    assert seen == [bytes([number]) for number in range(20)], seen

trio.run(main)
"""


def test_every_request_is_taken_whenever_it_comes() -> None:
    """In a process of its own: pyfuse3 is there once in each."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)


MANY = """
import trio, jaxfs.fuse
from jaxfs.fuse import request_queue
from jaxfs.fuse.request_loop import RequestWaiter

class Receiver:
    def __init__(self, requests):
        self.kernel, self.taken, self.most = list(requests), [], 0
        self.received, self.held = None, {}
    def receive(self, fd):
        if not self.kernel:
            return 0
        self.received = self.kernel.pop(0)
        return 2 if self.kernel else 1
    def hold(self):
        uid, number = self.received
        self.received, self.held[number] = None, uid
        self.most = max(self.most, len(self.held))
        return (16, uid, 64, number)
    def choose(self, number):
        self.received = (self.held.pop(number), number)

async def main(limit):
    request_queue.MAX_REQUESTS = limit
    requests = [(1, number) for number in range(99)] + [(2, 99)]
    receiver = Receiver(requests)
    waiter = RequestWaiter(receiver)
    while receiver.kernel or receiver.held:
        await waiter.wait_readable(READABLE)
        receiver.taken.append(receiver.received)
    assert sorted(receiver.taken) == requests
    return receiver

import os
READABLE = os.pipe()[0]
assert [uid for uid, _ in trio.run(main, 1000).taken[:3]] == [1, 2, 1]
bounded = trio.run(main, 10)
assert bounded.most == 10
assert [number for uid, number in bounded.taken if uid == 1] == list(range(99))
one = trio.run(main, 1)
assert one.most == 1
"""


def test_all_requests_that_are_there_are_read_before_one_is_chosen() -> None:
    """Up to a limit: what is beyond it stays in the kernel, and nothing is lost."""
    subprocess.run([sys.executable, "-c", MANY], check=True, timeout=60)


TURNS = """
import time, trio, jaxfs.fuse
from jaxfs.fuse import request_loop
from jaxfs.fuse.request_loop import ReadLock

request_loop.TURN_S = 3600.0
WORKERS, REQUESTS = 5, 200

async def main(waits):
    left, taken, turns = [REQUESTS], [], [0]
    lock = ReadLock(lambda: left[0] > 1)
    async def worker(number):
        while True:
            async with lock:
                if not left[0]:
                    return
                left[0] -= 1
            taken.append(number)
            if waits:
                await trio.lowlevel.checkpoint()
    async def count():
        while left[0]:
            turns[0] += 1
            await trio.lowlevel.checkpoint()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        for number in range(WORKERS):
            nursery.start_soon(worker, number)
    assert len(taken) == REQUESTS
    return turns[0], set(taken)

turns, _ = trio.run(main, False)
assert turns <= 10, turns
_, workers = trio.run(main, True)
assert len(workers) == WORKERS, "a handler that waits kept others from taking requests"
request_loop.TURN_S = 0.0
turns, _ = trio.run(main, False)
assert turns >= REQUESTS // 2, "other tasks got no turns"
"""


def test_requests_that_wait_are_taken_in_one_turn_until_its_time_is_up() -> None:
    """A handler that waits keeps no other worker from the next request."""
    subprocess.run([sys.executable, "-c", TURNS], check=True, timeout=60)
