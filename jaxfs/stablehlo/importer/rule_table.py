"""The rule of every operation that the importer knows, by its name."""

from __future__ import annotations

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

RULES: dict[str, Rule] = {name: rule for module in _MODULES for name, rule in module.RULES.items()}
