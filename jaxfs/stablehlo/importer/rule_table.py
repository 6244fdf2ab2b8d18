"""The table of rules: for each operation that is imported, the function that imports it."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from jaxfs.stablehlo.importer.loops import control_flow
from jaxfs.stablehlo.importer.op import Rule
from jaxfs.stablehlo.importer.rewrites import sigmoid
from jaxfs.stablehlo.importer.rules import (
    chlo,
    collectives,
    convolution,
    custom_calls,
    elementwise,
    indexing,
    linalg,
    normalization,
    random,
    reductions,
    shapes,
    slices,
    sort,
    tokens,
)

_MODULES = (
    chlo,
    collectives,
    control_flow,
    convolution,
    custom_calls,
    elementwise,
    indexing,
    linalg,
    normalization,
    random,
    reductions,
    shapes,
    sigmoid,
    slices,
    sort,
    tokens,
)


def merge_rules(modules: Iterable[ModuleType]) -> dict[str, Rule]:
    """Returns the rules of all modules, by the operations' names.

    Raises:
        ValueError: Two modules have a rule for the same operation; the message names all three.
    """
    rules: dict[str, Rule] = {}
    homes: dict[str, str] = {}
    for module in modules:
        for name, rule in module.RULES.items():
            if name in rules:
                raise ValueError(f"{name} has two rules, in {homes[name]} and {module.__name__}")
            rules[name], homes[name] = rule, module.__name__
    return rules


RULES: dict[str, Rule] = merge_rules(_MODULES)
