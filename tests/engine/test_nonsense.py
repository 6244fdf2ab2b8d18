"""What an engine may say that a program has got hold of: the front survives, and so do the runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from jaxfs.engine.client import process
from jaxfs.engine.client.client import LocalEngine
from jaxfs.ipc.shared_memory import Pool
from tests.conftest import closing_descriptors
from tests.engine import liar
from tests.engine.conftest import Programs, call, run_with_engine


@pytest.mark.parametrize("lie", liar.LIES)
def test_an_engine_that_talks_nonsense_is_ended_and_the_run_runs_again(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lie: str
) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    monkeypatch.setattr(process, "COMMAND", (sys.executable, liar.__file__, lie, str(mark)))

    async def test(engine: LocalEngine, pool: Pool) -> None:
        (found,) = await call(engine, programs["f32"], np.full(8, 21, "f4"))
        assert found.tolist() == [42.0] * 8
        assert engine.restarts == 1
        assert not mark.exists()

    with closing_descriptors():
        run_with_engine(test)
