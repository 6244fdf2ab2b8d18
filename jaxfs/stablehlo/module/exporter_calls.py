"""Custom calls as which exporters write operations that CHLO has.

MHLO, XLA's former dialect, had erf, tan and top_k; StableHLO has no form for them but a custom call
``@mhlo.erf`` with MHLO's attributes in a dictionary.  PyTorch/XLA writes every GELU so.  They
become the CHLO operations, which have derivatives and are compiled alike.
"""

from __future__ import annotations

from typing import Any

from jaxlib.mlir import ir

from jaxfs.errors import Invalid
from jaxfs.stablehlo.module.walk import place

_PREFIXES = ("mhlo.", "chlo.")
_UNARY = frozenset(
    {
        *("acos", "acosh", "asin", "asinh", "atan", "atanh", "bessel_i1e", "cosh", "digamma"),
        *("erf", "erf_inv", "erfc", "lgamma", "sinh", "square", "tan"),
    }
)
_SETTINGS = ("mhlo.attributes", "mhlo.backend_config", "backend_config")


def read_call(call: Any) -> None:
    """Replaces a custom call that stands for an operation of CHLO by it.

    Raises:
        Invalid: It does not fit its operation; the message has its line and target.
    """
    target = call.attributes["call_target_name"].value
    prefix, name = target[:5], target[5:]
    if prefix not in _PREFIXES:
        return
    if name in _UNARY:
        _replace(call, target, f"chlo.{name}", {})
    elif name in ("topk", "top_k"):
        _replace(call, target, "chlo.top_k", {"k": _top_k(call, target)})


def _top_k(call: Any, target: str) -> Any:
    """Returns how many elements a call of ``mhlo.topk`` takes, as an attribute.

    Raises:
        Invalid: It takes the smallest ones, or no valid number of them.
    """
    settings = _settings(call)
    largest, k = settings.get("largest"), settings.get("k")
    if largest is not None and not (isinstance(largest, ir.BoolAttr) and largest.value):
        raise Invalid(
            f"{place(call)}custom call @{target} asks for the smallest elements, for which XLA has "
            "no operation; take the largest of the negated array, or sort it"
        )
    if not isinstance(k, ir.IntegerAttr):
        raise Invalid(f"{place(call)}custom call @{target} has no number k in mhlo.attributes")
    size = _last_size(call)
    if not 0 <= k.value <= size:
        raise Invalid(f"{place(call)}custom call @{target} has k = {k.value}, of {size} elements")
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), k.value)


def _last_size(call: Any) -> int:
    """Returns the size of the operand's last dimension, 0 if there is none."""
    found = call.operands[0].type if len(call.operands) else None
    if not isinstance(found, ir.RankedTensorType) or not found.rank:
        return 0
    is_dynamic = found.is_dynamic_dim(found.rank - 1)
    return 1 << 62 if is_dynamic else found.get_dim_size(found.rank - 1)


def _settings(call: Any) -> dict[str, Any]:
    """Returns the entries of a call's dictionaries by name."""
    found = [call.attributes[name] for name in _SETTINGS if name in call.attributes]
    dictionaries: list[Any] = [one for one in found if isinstance(one, ir.DictAttr)]
    return {entry.name: entry.attr for entries in dictionaries for entry in entries}


def _replace(call: Any, target: str, name: str, attributes: dict[str, Any]) -> None:
    """Replaces a custom call by an operation with its operands and results."""
    results = [value.type for value in call.results]
    with ir.InsertionPoint(call), call.location:
        made = ir.Operation.create(name, results, list(call.operands), attributes)
    try:
        made.verify()
    except ir.MLIRError:
        types = ", ".join(str(value.type) for value in call.operands)
        found = f"({types}) -> ({', '.join(map(str, results))})"
        raise Invalid(
            f"{place(call)}custom call @{target} has types that {name} does not take: {found}"
        ) from None
    for old, new in zip(call.results, made.results, strict=True):
        old.replace_all_uses_with(new)
    call.erase()
