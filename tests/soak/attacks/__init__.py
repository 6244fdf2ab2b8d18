"""What two users do to a mount while a third one uses it.

Each attack is a function of an `Attacker`; a module has those of one kind.
"""

from __future__ import annotations

from tests.soak.attacks import asking, compiling, data, keeping, running
from tests.soak.attacks.attacker import Attack

ALL: dict[str, Attack] = {
    attack.name: attack
    for module in (data, compiling, running, keeping, asking)
    for attack in module.ATTACKS
}
