"""Checks of single operations that MLIR's verifier accepts and that XLA crashes on, or trusts.

A check returns why an operation cannot run, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxlib.mlir import ir

from jaxfs.stablehlo.module.mlir_types import aval_of
from jaxfs.stablehlo.module.partitions import PLACEMENT_TARGETS, why_not_groups
from jaxfs.stablehlo.validate.custom_call_targets import TEXT_SETTINGS, refusal, why_unknown

Check = Callable[[Any], str | None]


def _custom_call(operation: Any) -> str | None:
    """Checks a custom call's target, and its settings as XLA reads them.

    Specification: https://github.com/openxla/stablehlo/blob/main/docs/spec.md#custom_call.
    """
    target = operation.attributes["call_target_name"].value
    if why := why_unknown(target):  # whatever its settings are
        return f"custom call @{target} {why}"
    operands = [aval_of(value.type) for value in operation.operands]
    results = [aval_of(value.type) for value in operation.results]
    configs = [] if target in PLACEMENT_TARGETS else _backend_configs(operation)
    if len(configs) > 1:
        why = "has its settings twice"
    elif not all(_is_readable(target, config) for config in configs):
        why = "has settings that are no dictionary"
    else:
        config = configs[0] if configs and isinstance(configs[0], ir.DictAttr) else None
        why = refusal(target, operands, results, _numbers(config) if config is not None else {})
    return f"custom call @{target} {why}" if why else None


def _is_readable(target: str, config: Any) -> bool:
    """Returns whether settings are a dictionary, or a text that its target reads without fault."""
    text = TEXT_SETTINGS.get(target)
    if text is not None and isinstance(config, ir.StringAttr):
        return text.match(config.value_bytes.decode(errors="replace")) is not None
    return isinstance(config, ir.DictAttr)


def _backend_configs(operation: Any) -> list[Any]:
    """Returns the settings; ``api_version`` determines which of two XLA gives the native code."""
    found = [
        operation.attributes[name]
        for name in ("backend_config", "mhlo.backend_config")
        if name in operation.attributes
    ]
    return [one for one in found if not (isinstance(one, ir.StringAttr) and not one.value_bytes)]


def _numbers(config: Any) -> dict[str, int]:
    """Returns the integers and booleans among a dictionary's entries."""
    entries = [config[i] for i in range(len(config))]
    return {
        entry.name: int(entry.attr.value)
        for entry in entries
        if isinstance(entry.attr, ir.IntegerAttr | ir.BoolAttr)
    }


def _fft(operation: Any) -> str | None:
    """Refuses lengths other than the array's, which abort the worker (an assertion in DUCC)."""
    length = list(operation.attributes["fft_length"])
    whole = operation.results[0] if "IRFFT" in str(operation.attributes["fft_type"]) else None
    shape = list((whole or operation.operands[0]).type.shape)[-len(length) :]
    return None if length == shape else f"fft of length {length} is given an array of {shape}"


def why_not_collective(operation: Any, device_count: int) -> str | None:
    """Returns why ``device_count`` devices cannot run a collective operation, None if they can."""
    attribute = COLLECTIVES.get(operation.name, "replica_groups")
    why = why_not_groups(operation.attributes[attribute], device_count)
    if why is None:
        return None
    devices = "one device" if device_count == 1 else f"{device_count} devices"
    return f"{operation.name} {why}; the program runs on {devices}"


CHECKS: dict[str, Check] = {
    "stablehlo.custom_call": _custom_call,
    "stablehlo.fft": _fft,
}
COLLECTIVES: dict[str, str] = {  # the attribute in which each names devices
    "stablehlo.collective_permute": "source_target_pairs",
    **{
        f"stablehlo.{name}": "replica_groups"
        for name in (
            "all_gather",
            "all_reduce",
            "all_to_all",
            "collective_broadcast",
            "reduce_scatter",
        )
    },
}
