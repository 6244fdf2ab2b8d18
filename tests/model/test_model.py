"""The state machine on a real mount; ``python -m tests.tools.long_model_runs`` runs it longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Mount, ending_clean, leaving_nothing, mounting
from tests.model.clients import Victims
from tests.model.machine import Machine

Seed = Callable[[type[Machine]], type[Machine]]
EVERY_DAY = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    stateful_step_count=40,
    report_multiple_bugs=False,
    phases=[Phase.generate],  # shrinking takes minutes: tests.tools.long_model_runs --shrink
    suppress_health_check=list(HealthCheck),
)


def run_model(mount: Mount, how: settings, seeded: Seed = lambda machine: machine) -> None:
    """Machines on ``mount``, one after another.  Raises AssertionError with what was done."""
    victims = Victims()

    @seeded
    class OnMount(Machine):
        pass

    OnMount.mount, OnMount.victims = mount, victims
    try:
        with leaving_nothing(mount):
            run_state_machine_as_test(OnMount, settings=how)
    finally:
        victims.close()


def test_mount_does_what_the_reference_does(tmp_path: Path) -> None:
    with mounting(tmp_path) as mount, ending_clean(mount):
        run_model(mount, EVERY_DAY)
