"""Unpickles executables, and nothing else.

A serialized executable is a pickle of JAX: XLA's bytes with avals, shardings and layouts.  A
compiler job made it, in whose process a user's code may have run, and the engine reads it with the
engine's rights.  So only the names that JAX's own pickles have are looked up, of jax 0.10.2 and
0.12.0; what they make is data.  XLA's bytes remain: they are native code.

Private names of jax and jaxlib:

- ``_JaxPjrtUnpickler``: hands XLA's bytes to a client, and devices to what refers to them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import serialize_executable

from jaxfs.types.avals import DTYPES

_NAMES = frozenset(
    {
        ("jax", "P"),
        ("jax._src.core", "ManualAxisType"),
        ("jax._src.core", "MemorySpace"),
        ("jax._src.core", "ShapedArray"),
        ("jax._src.interpreters.pxla", "UnloadedMeshExecutable"),
        ("jax._src.layout", "AutoLayoutSingleton"),
        ("jax._src.layout", "Layout"),
        ("jax._src.mesh", "AbstractMesh"),
        ("jax._src.named_sharding", "_unpickle_named_sharding"),
        ("jax._src.sharding_impls", "_unpickle_gspmd_sharding"),
        ("jax._src.sharding_impls", "_unpickle_single_device_sharding"),
        ("jaxlib._hlo", "OpSharding"),
        ("jaxlib._jax", "DeviceList"),
        ("numpy", "dtype"),
        *(("ml_dtypes", row.numpy.name) for row in DTYPES if not row.is_native),
    }
)
_make_unpickler: Any = serialize_executable._JaxPjrtUnpickler


class ExecutableUnpickler(_make_unpickler):  # type: ignore[misc]  # has no types
    """Looks up the names that executables need; refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns what has a name in a module.

        Raises:
            pickle.UnpicklingError: No executable needs it.
        """
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(
                f"the executable refers to {module}.{name}, and no executable of JAX "
                f"{jax.__version__} does: it is damaged, or made to run code; write its program "
                "again"
            )
        return super().find_class(module, name)


def unpickle(data: bytes, devices: Sequence[jax.Device]) -> Any:
    """Returns the unloaded executable in a pickle, for these devices.

    Raises:
        pickle.UnpicklingError: The pickle refers to something that no executable needs.
    """
    return ExecutableUnpickler(io.BytesIO(data), devices[0].client, devices).load()
