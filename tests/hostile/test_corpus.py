"""Every hostile program ends as its row says, and the tracer goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from jaxfs.errors import Invalid, JaxfsError, NoSpace, TimedOut
from jaxfs.testing import eventually
from tests.compiler.conftest import BlockingTracer
from tests.compiler.test_processes import children
from tests.hostile.case import ACCEPTED, AT_COMPILE, Stop
from tests.hostile.conftest import GOOD, attempt
from tests.hostile.corpus import CASES, document

DOCUMENT = Path(__file__).parents[2] / "docs/reports/hostile.md"
REFUSED = [name for name, case in CASES.items() if case.stop not in ACCEPTED]
BY_VERIFIER = "see current operation"  # what only MLIR's verifier adds to its errors


def by_parser(error: JaxfsError) -> bool:
    """Text has the parser's words in its diagnostics, bytecode in its reason."""
    is_binary = "cut off or damaged" in error.reason or "is not UTF-8" in error.reason
    return is_binary or "Unable to parse module" in error.diagnostics


# What else must be true of an error, by who stopped the program.
SIGNS: dict[Stop, Callable[[JaxfsError], bool]] = {
    Stop.PREFILTER: lambda error: "nested over" in error.reason,
    Stop.PARSER: lambda error: by_parser(error) and BY_VERIFIER not in error.diagnostics,
    Stop.VERIFIER: lambda error: BY_VERIFIER in error.diagnostics,
    Stop.CHECK: lambda error: not by_parser(error) or "jax.export" in error.reason,
    Stop.COMPILER: lambda error: "the compiler refused" in error.reason,
    Stop.CRASH: lambda error: isinstance(error, Invalid) and "crashed" in error.reason,
    Stop.DEADLINE: lambda error: isinstance(error, TimedOut),
    Stop.MEMORY: lambda error: isinstance(error, NoSpace),
}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_program_is_refused_and_the_tracer_goes_on(
    hostile: BlockingTracer, name: str
) -> None:
    case = CASES[name]
    hostile.trace(GOOD)
    zygote = hostile.client.pid
    tried = hostile.run(attempt, case)
    error = tried.error
    assert error is not None, "it was accepted"
    assert error.errno == case.errno
    assert tried.stage == "trace" or case.stop in AT_COMPILE
    assert case.reason
    assert case.reason in error.reason
    assert SIGNS.get(case.stop, bool)(error), error.text()
    eventually(lambda: not children(zygote))
    assert hostile.trace(GOOD)[0].signature.text() == "in 0 x f32[4]\nout 0 f32[4]\n"
    assert (hostile.client.pid, hostile.client.restarts) == (zygote, 0)


def test_corpus_is_large_and_every_stop_has_its_case() -> None:
    assert len(CASES) >= 60
    assert {case.stop for case in CASES.values()} == set(Stop)


def test_table_of_the_corpus_is_current() -> None:
    """Rewrites it where JAXFS_UPDATE_DOCS is set."""
    if os.environ.get("JAXFS_UPDATE_DOCS"):
        DOCUMENT.write_text(document())
    assert DOCUMENT.read_text() == document()
