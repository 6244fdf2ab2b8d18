"""An engine on a GPU dies or is killed: no run is lost."""

from __future__ import annotations

from tests.engine import test_lives as lives
from tests.gpu.conftest import GPU

pytestmark = GPU

test_sigkill = lives.test_50_runs_in_flight_survive_sigkill
test_endless = lives.test_an_endless_run_stops_nobody_else_and_can_be_ended
test_closing = lives.test_closing_cancels_what_runs_and_leaves_no_process
