"""Which users' pickles are accepted, and what happens without a sandbox for them."""

from __future__ import annotations

import attrs
import pytest
import trio

from jaxfs.errors import AccessDenied
from jaxfs.programs.pickle_policy import PicklePolicy

OWNER, OTHER = 1000, 1001


@attrs.define
class Machine:
    """As much of a compiler as the policy needs."""

    holds_pickles: bool = True
    why_no_pickles: str = "this kernel offers no landlock"

    async def start(self) -> None:
        """It is there."""


def taken(rule: str, uid: int, machine: Machine) -> bool:
    policy = PicklePolicy(rule, OWNER, machine)  # type: ignore[arg-type]  # as much as it needs
    try:
        trio.run(policy.check, uid)
    except AccessDenied:
        return False
    return True


@pytest.mark.parametrize(
    ("rule", "owner", "other", "without_sandbox"),
    [
        ("owner", True, False, False),
        ("all", True, True, False),
        ("off", False, False, False),
        ("unsafe", True, False, True),
    ],
)
def test_rule_decides_which_users_pickles_are_accepted(
    rule: str, owner: bool, other: bool, without_sandbox: bool
) -> None:
    assert taken(rule, OWNER, Machine()) == owner
    assert taken(rule, OTHER, Machine()) == other
    assert taken(rule, OWNER, Machine(holds_pickles=False)) == without_sandbox


def test_without_a_sandbox_the_refusal_names_what_is_missing() -> None:
    policy = PicklePolicy("owner", OWNER, Machine(holds_pickles=False))  # type: ignore[arg-type]  # as above
    with pytest.raises(AccessDenied, match=r"no landlock.*pickle=unsafe"):
        trio.run(policy.check, OWNER)
