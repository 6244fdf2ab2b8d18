"""The state machine for as long as wanted: ``python -m tests.tools.long_model_runs --seconds 600``.

Each round is seeded with its number, so ``--first N --seconds 1`` does round N again; ``--shrink``
then looks for the shortest way to the failure, which takes minutes.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from hypothesis import Phase, seed, settings

from tests.conftest import ending_clean, mounting
from tests.model.test_model import EVERY_DAY, run_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--first", type=int, default=0, help="the first round's number")
    parser.add_argument("--steps", type=int, default=80, help="steps of an example")
    parser.add_argument("--shrink", action="store_true")
    wanted = parser.parse_args()
    phases = [Phase.generate, Phase.shrink] if wanted.shrink else [Phase.generate]
    how = settings(EVERY_DAY, derandomize=False, stateful_step_count=wanted.steps, phases=phases)
    run(how, wanted.first, time.monotonic() + wanted.seconds)


def run(how: settings, first: int, until: float) -> None:
    """Rounds on one mount, until the time is over or something differs."""
    with (
        tempfile.TemporaryDirectory() as root,
        mounting(Path(root)) as mount,
        ending_clean(mount),
    ):
        for number in itertools.count(first):
            print(f"round {number}", flush=True)
            run_model(mount, how, seed(number))
            if time.monotonic() > until:
                return


if __name__ == "__main__":
    main()
