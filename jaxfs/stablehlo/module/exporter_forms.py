"""What other exporters write in forms of their own becomes what JAX would write."""

from __future__ import annotations

from typing import Any

from jaxfs.stablehlo.module.exporter_calls import read_call
from jaxfs.stablehlo.module.exporter_constants import CONSTANTS, Resources, make_dense
from jaxfs.stablehlo.module.walk import operations


def read_exporter_forms(module: Any) -> None:
    """Replaces custom calls and constants that stand for plain operations by these.

    Raises:
        Invalid: One of them is damaged, or has no such operation.
    """
    resources = Resources(module)
    with module.context:
        for operation in [operation for operation, _ in operations(module.operation)]:
            if operation.name == "stablehlo.custom_call":
                read_call(operation)
            elif operation.name in CONSTANTS:
                make_dense(operation, resources)
