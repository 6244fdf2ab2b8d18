"""``error_log``: each user's own errors, whatever others do."""

from __future__ import annotations

import pytest

from jaxfs.errors import Invalid, JaxfsError
from jaxfs.testing.in_process import open_vfs
from jaxfs.vfs.monitoring.error_log import KEEP, KEEP_USERS, MAX_CHARS, ErrorLog

ALICE, BOB = 20001, 20002


async def test_one_users_errors_do_not_empty_anothers_log() -> None:
    async with open_vfs() as mount:
        alice, bob = mount.user(ALICE), mount.user(BOB)
        with pytest.raises(JaxfsError):
            await bob.write("arrays/w", "this is no array")
        for number in range(KEEP + 100):
            with pytest.raises(JaxfsError):
                await alice.write(f"arrays/{number}.nothing", "x")
        assert "arrays/w EINVAL" in await bob.text("error_log")
        assert len((await alice.text("error_log")).splitlines()) == KEEP


async def test_repeated_error_has_one_line_with_its_number() -> None:
    async with open_vfs() as mount:
        for _ in range(57):
            for name in ("a.b", "c.d"):
                with pytest.raises(JaxfsError):
                    await mount.client.write(f"arrays/{name}", "x")
        found = (await mount.client.text("error_log")).splitlines()
        assert len(found) == 2
        assert all(line.endswith("(repeated 57 times)") for line in found)


def test_newest_error_is_last_also_when_it_was_there_before() -> None:
    log = ErrorLog()
    for reason in ("first", "second", "first"):
        log.add(ALICE, "arrays/w", Invalid(reason))
    assert [line.split()[3] for line in log.text(ALICE).decode().splitlines()] == [
        "second",
        "first",
    ]


def test_log_is_bounded_by_users_and_by_length() -> None:
    log = ErrorLog()
    for uid in range(2 * KEEP_USERS):
        log.add(uid, "p" * 10 * MAX_CHARS, Invalid("r" * 10 * MAX_CHARS))
    shown = [uid for uid in range(2 * KEEP_USERS) if log.text(uid)]
    assert shown == list(range(KEEP_USERS, 2 * KEEP_USERS))
    assert len(log.text(shown[0])) < 3 * MAX_CHARS
    assert log.counts["EINVAL"] == 2 * KEEP_USERS
