"""What all processes of a run know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.processes import ROOT

MIB = 1 << 20


class Sizes(msgspec.Struct, frozen=True):
    """How large the arrays are, and how often things are done.

    Attributes:
        matrix: The side of a bf16 matrix.
        large: The elements of a large f32 array.
        weights: The f32 weights that are trained.
        steps: How many steps are timed.
        calls: How many small calls are timed.
        repeats: How often a large call is timed.
        products: The products of matrices in a run that takes seconds.
        kept: The large arrays that are kept on the device.
    """

    matrix: int = 8192
    large: int = 1 << 26
    weights: int = 1 << 24
    steps: int = 50
    calls: int = 1000
    repeats: int = 10
    products: int = 1400
    kept: int = 20


SMALL = Sizes(256, 1 << 18, 1 << 16, 20, 200, 3, 400, 4)


class Config(msgspec.Struct, frozen=True):
    """An argument of each process, as JSON.

    Attributes:
        platform: As JAX calls it: cuda, cpu.
        workdir: An absolute path, for files of this run.
        small: Whether to use small arrays, to try the checks themselves.
    """

    platform: str
    workdir: str
    small: bool = False

    @property
    def sizes(self) -> Sizes:
        """The sizes of this run."""
        return SMALL if self.small else Sizes()

    @property
    def patience(self) -> int:
        """How many times longer than planned a check may take: a try may run on a busy machine."""
        return 5 if self.small else 1

    @property
    def directory(self) -> Path:
        """``workdir`` as a path."""
        return Path(self.workdir)

    @property
    def cache_dir(self) -> Path:
        """Where the engines of this run keep what they compile."""
        return self.directory / "cache"

    @property
    def plain_path(self) -> Path:
        """The figures of plain JAX, as JSON."""
        return self.directory / "plain.json"

    @property
    def target_config_path(self) -> Path:
        """XLA's description of the card, which it compiles for without the card."""
        return self.directory / "target_config.txtpb"


def environment(jax_platforms: str) -> Mapping[str, str]:
    """Returns the environment of a process of this run.

    Engines start with ``-P``, so that they find this tree only by PYTHONPATH.

    Args:
        jax_platforms: For JAX_PLATFORMS; empty for JAX's choice.
    """
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    ours = {
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    dropped = ("JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR")
    found = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**found, **ours, **({"JAX_PLATFORMS": jax_platforms} if jax_platforms else {})}
