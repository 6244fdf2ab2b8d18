"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from jaxfs import stablehlo

MODULES = [found.name for found in pkgutil.walk_packages(stablehlo.__path__, "jaxfs.stablehlo.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
