"""The order of requests that wait: users take turns, and what holds a directory goes first."""

from __future__ import annotations

import itertools

import pytest

from jaxfs.fuse.request_queue import (
    MAX_BYTES,
    MAX_REQUESTS,
    TURNS,
    Opcode,
    ReceivedRequest,
    RequestQueue,
)

WRITE, READ = 16, 15
ALICE, BOB, CAROL = 1, 2, 3
NUMBERS = itertools.count()


def request(opcode: int, uid: int, nbytes: int = 64) -> ReceivedRequest:
    return ReceivedRequest(opcode, uid, nbytes, next(NUMBERS))


def queue_of(*requests: ReceivedRequest) -> RequestQueue:
    queue = RequestQueue()
    for waiting in requests:
        queue.add(waiting)
    return queue


def drained(queue: RequestQueue) -> list[ReceivedRequest]:
    return [queue.take() for _ in range(len(queue))]


def test_users_take_turns_whoever_has_more_requests() -> None:
    many = [request(WRITE, ALICE) for _ in range(100)]
    few = [request(WRITE, BOB), request(READ, CAROL), request(WRITE, BOB)]
    order = drained(queue_of(*many, *few))
    assert [taken.uid for taken in order[:5]] == [ALICE, BOB, CAROL, ALICE, BOB]
    assert {taken.held for taken in order} == {waiting.held for waiting in (*many, *few)}


def test_a_user_that_comes_later_waits_for_one_request_of_each_other() -> None:
    queue = queue_of(*(request(WRITE, uid) for uid in (ALICE, BOB) for _ in range(50)))
    for _ in range(7):
        queue.take()
    queue.add(request(READ, CAROL))
    assert CAROL in [queue.take().uid for _ in range(3)]


def test_requests_of_one_user_keep_their_order() -> None:
    queue = queue_of(*(request(WRITE, uid, n) for n in range(20) for uid in (ALICE, BOB)))
    mine = [taken.nbytes for taken in drained(queue) if taken.uid == ALICE]
    assert mine == list(range(20))


def test_what_may_hold_a_directory_goes_before_other_requests() -> None:
    others = [request(WRITE, uid) for uid in (ALICE, BOB) for _ in range(50)]
    queue = queue_of(*others, request(Opcode.CREATE, ALICE), request(Opcode.READDIRPLUS, CAROL))
    assert [queue.take().opcode for _ in range(2)] == [Opcode.CREATE, Opcode.READDIRPLUS]


def test_what_only_looks_does_not_wait_for_long_writes() -> None:
    queue = queue_of(*(request(WRITE, ALICE) for _ in range(50)), request(Opcode.GETATTR, ALICE))
    assert queue.take().opcode == Opcode.GETATTR


def test_what_may_hold_a_directory_waits_for_few_that_only_look() -> None:
    looks = [request(Opcode.GETATTR, ALICE) for _ in range(50)]
    queue = queue_of(*looks, request(Opcode.UNLINK, ALICE), request(Opcode.RENAME2, ALICE))
    opcodes = [queue.take().opcode for _ in range(4)]
    assert {Opcode.UNLINK, Opcode.RENAME2} <= set(opcodes)


@pytest.mark.parametrize("waits", [WRITE, Opcode.GETATTR, Opcode.RMDIR])
@pytest.mark.parametrize("kind", [READ, Opcode.STATFS, Opcode.LOOKUP])
def test_endless_requests_of_one_kind_starve_no_other(waits: int, kind: int) -> None:
    queue = queue_of(request(kind, ALICE), request(waits, BOB))
    taken = []
    for _ in range(len(TURNS)):
        queue.add(request(kind, ALICE))
        taken.append(queue.take().uid)
    assert BOB in taken


def test_what_only_frees_something_does_not_wait() -> None:
    """Its uid is 0, for all users; a signal must reach a request before its turn, too."""
    others = [request(kind, 0) for kind in (WRITE, Opcode.LOOKUP) for _ in range(50)]
    freeing = (Opcode.RELEASE, Opcode.FORGET, Opcode.INTERRUPT, Opcode.RELEASEDIR)
    queue = queue_of(*others, *(request(kind, 0) for kind in freeing))
    assert tuple(queue.take().opcode for _ in freeing) == freeing


def test_the_queue_is_bounded_in_number_and_in_bytes() -> None:
    many = queue_of(*(request(READ, ALICE) for _ in range(MAX_REQUESTS - 1)))
    assert not many.is_full
    many.add(request(READ, ALICE))
    assert many.is_full
    many.take()
    assert not many.is_full
    large = queue_of(request(WRITE, ALICE, MAX_BYTES - 1))
    assert not large.is_full
    large.add(request(READ, BOB))
    assert large.is_full
    drained(large)
    assert not large.is_full
