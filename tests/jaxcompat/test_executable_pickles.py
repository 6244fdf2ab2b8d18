"""The engine reads executables from compiler jobs, in which users' code has run."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from jaxfs.types.avals import DTYPES


@pytest.fixture(scope="module")
def lines() -> list[str]:
    command = [sys.executable, "-m", "tests.jaxcompat.round_trips"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_pickle_that_would_run_code_is_refused_in_words(lines: list[str]) -> None:
    refused = [line for line in lines if line.startswith("refused ")]
    assert len(refused) == 7
    names = ("posix.system", "builtins.eval", "builtins.getattr", "fromfile")
    for name, line in zip(
        (*names, "dtype.__class__", "jax.P.__init__", "load"), refused, strict=True
    ):
        assert name in line
        assert "and no executable of JAX" in line
    assert not any("pwned" in line and not line.startswith("refused ") for line in lines)


def test_executables_of_each_type_and_spreading_are_loaded(lines: list[str]) -> None:
    kinds = Counter(line.split()[0] for line in lines)
    assert kinds["dtype"] >= len(DTYPES) - 3
    assert kinds["spread"] == 6
