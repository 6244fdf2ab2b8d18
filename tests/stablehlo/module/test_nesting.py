"""Depth is counted before a parser recurses into it."""

from __future__ import annotations

import pytest

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.nesting import MAX_BRACKETS, check_nesting


@pytest.mark.parametrize("pair", ["()", "[]", "{}", "<>"])
def test_deep_brackets_are_refused_with_their_line(pair: str) -> None:
    deepest = pair[0] * MAX_BRACKETS + pair[1] * MAX_BRACKETS
    check_nesting(deepest)
    with pytest.raises(Invalid, match="line 2: nested over"):
        check_nesting("\n" + pair[0] + deepest)


@pytest.mark.parametrize("harmless", ['"((((("', "// <<<<<\n", "() -> () -> ", '"\\"((((("'])
def test_brackets_in_strings_comments_and_arrows_do_not_count(harmless: str) -> None:
    check_nesting(harmless * MAX_BRACKETS)


@pytest.mark.parametrize("between", ['")"', "// )\n", '"\\")"', "->"])
def test_brackets_that_close_nothing_hide_no_depth(between: str) -> None:
    with pytest.raises(Invalid, match="nested over"):
        check_nesting(f"({between} " * (MAX_BRACKETS + 2))
