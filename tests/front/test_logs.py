"""The daemon's log, when something goes wrong again and again."""

from __future__ import annotations

import io
import logging

from jaxfs.front.logs import BURST, KINDS, MAX_MESSAGE_CHARS, PERIOD_S, RepeatFilter

SECOND = 1.0


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Log:
    """A logger with the filter, on a clock of its own."""

    def __init__(self) -> None:
        self.clock, self.stream = Clock(), io.StringIO()
        self._logger = logging.Logger("jaxfs.fuse.error_boundary")
        handler = logging.StreamHandler(self.stream)
        handler.addFilter(RepeatFilter(self.clock))
        self._logger.addHandler(handler)

    def fail(self, template: str, *arguments: object) -> None:
        self._logger.error(template, *arguments, exc_info=ZeroDivisionError())

    def lines(self, word: str) -> list[str]:
        return [line for line in self.stream.getvalue().splitlines() if word in line]


def test_one_users_faults_do_not_fill_the_log() -> None:
    log = Log()
    for number in range(10_000):
        log.fail("internal error in %s", f"lookup {number}")
    assert len(log.stream.getvalue()) < 10_000
    assert len(log.lines("internal error")) == BURST


def test_repeated_lines_are_counted() -> None:
    log = Log()
    for _ in range(BURST + 57):
        log.fail("internal error in %s", "lookup")
    log.clock.now_s = PERIOD_S + SECOND
    log.fail("internal error in %s", "open")
    log.fail("internal error in %s", "read")
    assert log.lines("open") == ["internal error in open (repeated 57 times)"]
    assert log.lines("read") == ["internal error in read"]


def test_many_lines_of_one_kind_leave_room_for_others() -> None:
    log = Log()
    for _ in range(1000):
        log.fail("internal error in %s", "lookup")
    log.fail("engine %d is ended: %s", 7, "it talks nonsense")
    assert log.lines("nonsense")


def test_lines_are_bounded_and_so_are_their_kinds() -> None:
    log = Log()
    log.fail("%s", "x" * (3 * MAX_MESSAGE_CHARS))
    assert max(map(len, log.stream.getvalue().splitlines())) < MAX_MESSAGE_CHARS + 100
    found = RepeatFilter(log.clock)
    for number in range(2 * KINDS):
        found.filter(logging.makeLogRecord({"msg": f"made of a user's words: {number}"}))
    assert len(found._kinds) <= KINDS
