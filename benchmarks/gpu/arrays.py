"""The inputs of programs, the same in every process."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kind = tuple[tuple[int, ...], "np.dtype[Any]"]


@functools.lru_cache(maxsize=3)
def random_arrays(kinds: tuple[Kind, ...]) -> tuple[NDArray[Any], ...]:
    """Returns arrays of these shapes and types, for reading; integers are 0.

    A large one takes a second to make, so that the last ones are kept.
    """
    random = np.random.default_rng(0)
    return tuple(
        np.zeros(shape, dtype)
        if dtype.kind in "iu"
        else np.asarray(random.standard_normal(shape, np.float32)).astype(dtype)
        for shape, dtype in kinds
    )
