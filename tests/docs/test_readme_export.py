"""The README's jax.export snippet, run beside a real mount."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import Mount

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_snippet_of_the_readme_exports_a_program(mount: Mount) -> None:
    assert mount.path.name == "jax"
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    subprocess.run([sys.executable, "-c", snippet], cwd=mount.path.parent, check=True)
    (mount.path / "programs/predict/calls/e").write_text("[[1, 2, 3], [0, 0, 0]]")
    found = np.load(mount.path / "results/e")
    powers = np.exp(np.array([[1, 2, 3], [0, 0, 0]], np.float32))
    np.testing.assert_allclose(found, powers / powers.sum(axis=1, keepdims=True), rtol=1e-6)
