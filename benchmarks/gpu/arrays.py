"""The inputs of programs, the same in every process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kind = tuple[tuple[int, ...], "np.dtype[Any]"]


def random_arrays(kinds: Iterable[Kind], seed: int = 0) -> list[NDArray[Any]]:
    """Returns arrays of these shapes and types; integers are 0."""
    random = np.random.default_rng(seed)
    return [
        np.zeros(shape, dtype)
        if dtype.kind in "iu"
        else np.asarray(random.standard_normal(shape, np.float32)).astype(dtype)
        for shape, dtype in kinds
    ]
