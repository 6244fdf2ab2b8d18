"""The table of rules has one rule for each operation."""

from __future__ import annotations

from types import ModuleType

import pytest

from jaxfs.stablehlo.importer.rule_table import RULES, merge_rules
from jaxfs.stablehlo.importer.rules import sort, tokens


def module(name: str, **rules: object) -> ModuleType:
    made = ModuleType(name)
    vars(made)["RULES"] = {f"stablehlo.{operation}": rule for operation, rule in rules.items()}
    return made


def test_rules_of_all_modules_are_merged() -> None:
    merged = merge_rules([sort, tokens])
    assert merged == {**sort.RULES, **tokens.RULES}
    assert merged.items() <= RULES.items()


def test_second_rule_for_an_operation_is_refused_naming_both_modules() -> None:
    modules = [module("one", sine=abs, sort=abs), module("two", cosine=abs, sine=abs)]
    with pytest.raises(ValueError, match=r"^stablehlo\.sine has two rules, in one and two$"):
        merge_rules(modules)
