"""All hostile programs by name, and the table of them in docs/reports/hostile.md."""

from __future__ import annotations

import errno
from collections import Counter

from tests.hostile import control, exports, files, native, nesting, shapes
from tests.hostile.case import Case

GROUPS: dict[str, dict[str, Case]] = {
    "Bytes that are no program, or were one": files.CASES,
    "Nesting, and what grows when it is written out": nesting.CASES,
    "Types, shapes and sizes": shapes.CASES,
    "Functions, calls, loops and the host": control.CASES,
    "Native code": native.CASES,
    "jax.export artifacts that lie": exports.CASES,
}
CASES: dict[str, Case] = {
    name: case.here() for group in GROUPS.values() for name, case in group.items()
}

_HEAD = """# Hostile programs

What a user wrote is parsed, checked and compiled in a process of its own that may die, hang or run
out of memory; it runs in an engine that comes back. Each file below is written by
`tests/hostile/`, traced, compiled and, where it is accepted, run: it must end as its row says, and
the next program must compile. This table is made from the rows that are tested
(`JAXFS_UPDATE_DOCS=1 python -m pytest tests/hostile/test_corpus.py`).
"""
_COLUMNS = (
    "| file | what it is | errno | reason, among other words | stopped by |\n"
    "|---|---|---|---|---|\n"
)


def document() -> str:
    """The whole of docs/reports/hostile.md."""
    tables = [f"\n## {title}\n\n{_COLUMNS}{_rows(group)}" for title, group in GROUPS.items()]
    return _HEAD + _summary() + "".join(tables)


def _summary() -> str:
    counts = Counter(case.stop for group in GROUPS.values() for case in group.values())
    rows = "".join(f"| {stop.value} | {count} |\n" for stop, count in counts.most_common())
    return f"\n{len(CASES)} files, stopped by\n\n| | files |\n|---|---|\n{rows}"


def _rows(group: dict[str, Case]) -> str:
    return "".join(_row(name, case) + _newer_row(case) for name, case in group.items())


def _row(name: str, case: Case) -> str:
    word = errno.errorcode.get(case.errno, "")
    return f"| {name} | {case.what} | {word} | {case.reason} | {case.stop.value} |\n"


def _newer_row(case: Case) -> str:
    if case.newer is None:
        return ""
    what = "the same with jaxlib 0.12"
    return _row("", Case(what, "", case.newer.stop, case.newer.reason, case.newer.errno))
