"""The end of a session."""

from __future__ import annotations

import logging

from jaxfs.fuse.session import is_not_late_invalidation


def said(words: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("pyfuse3", logging.ERROR, "", 0, words, values, None)


def test_names_that_are_forgotten_after_the_end_are_no_complaint() -> None:
    late = said("Failed to submit invalidate_entry request for parent inode %d, name %s", 7, b"x")
    assert not is_not_late_invalidation(late)
    assert is_not_late_invalidation(said("something else went wrong"))
