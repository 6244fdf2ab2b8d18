"""The examples in docstrings of mountctl."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import mountctl

MODULES = [module.name for module in pkgutil.walk_packages(mountctl.__path__, "mountctl.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
