"""JAX's functions with the bodies that this jax gives them.

A body is had by lowering the function, as text has it and as jax.export writes it, with and without
64-bit types; so a jax with other bodies needs no change here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
from jax import export, lax, nn
from jax.scipy import special
from jaxlib.mlir.dialects import stablehlo

from jaxfs.jaxcompat.mlir import make_context
from jaxfs.stablehlo.expansions.terms import Reader, Term, TermReader, returned_by
from jaxfs.stablehlo.module.walk import functions
from jaxfs.types.avals import BY_MLIR

WHOLE = (3,)  # the shape for which bodies of elementwise functions are made
_NARROW = frozenset({"bf16", "f16", "f32", "complex<f32>"})
_PLATFORM = ("cpu",)


@attrs.frozen
class Function:
    """An elementwise function of JAX.

    Attributes:
        apply: The function.
        arity: How many arrays it takes, of one type.
        kinds: ``f`` if it takes real numbers, ``c`` if it takes complex ones.
    """

    apply: Callable[..., Any]
    arity: int = 1
    kinds: str = "f"


@attrs.frozen
class Body:
    """A body of a function.

    Attributes:
        apply: The function.
        results: What the body returns.
        is_elementwise: Whether it was made for ``WHOLE``, and holds for any shape.
    """

    apply: Callable[..., Any]
    results: tuple[Term, ...]
    is_elementwise: bool = False


ELEMENTWISE: dict[str, Function] = {
    **{
        name: Function(getattr(lax, name), kinds="fc")
        for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "sinh", "tan")
    },
    **{
        name: Function(getattr(lax, name))
        for name in ("bessel_i0e", "bessel_i1e", "digamma", "erf", "erf_inv", "erfc", "lgamma")
    },
    **{
        name: Function(getattr(lax, name), kinds="c")
        for name in ("exp", "expm1", "log", "log1p", "logistic", "rsqrt", "sqrt", "square", "tanh")
    },
    **{
        name: Function(getattr(special, name))
        for name in ("entr", "log_ndtr", "logit")  # JAX gives these derivatives of their own
    },
    "logaddexp": Function(jnp.logaddexp, 2, "fc"),
    "logaddexp2": Function(jnp.logaddexp2, 2),
    "polygamma": Function(lax.polygamma, 2),
    **{
        name: Function(getattr(special, name), 2)
        for name in ("kl_div", "rel_entr", "xlog1py", "xlogy")
    },
}
# Functions that JAX lowers to private functions of these names, and gives derivatives of their own.
# The bodies of some are too plain to be recognized without the name, others depend on the shape.
NAMED: dict[str, Callable[..., Any]] = {
    "expi": special.expi,
    "digamma_impl": lax.digamma,
    "i0": jnp.i0,
    "lgamma_impl": lax.lgamma,
    **({"log1mexp": nn.log1mexp} if hasattr(nn, "log1mexp") else {}),  # of newer jax
    "relu": nn.relu,
    "relu6": nn.relu6,
    "sinc": jnp.sinc,
}


@cache
def bodies(element: str, names: tuple[str, ...] = tuple(ELEMENTWISE)) -> tuple[Body, ...]:
    """Returns the bodies of elementwise functions for arrays of one element type.

    Args:
        element: The type as MLIR has it: ``f32``.
        names: The functions.
    """
    row = BY_MLIR.get(element)
    if row is None:
        return ()
    kind = "c" if element.startswith("complex") else "f"
    wanted = [ELEMENTWISE[name] for name in names if kind in ELEMENTWISE[name].kinds]
    struct = _struct(WHOLE, row.numpy)
    taken = [one for one in wanted if _takes(one.apply, [struct] * one.arity)]
    if not taken:
        return ()
    structs = [struct] * max(one.arity for one in taken)

    def all_of_them(*xs: Any) -> list[Any]:
        return [one.apply(*xs[: one.arity]) for one in taken]

    return tuple(
        Body(one.apply, (result,), is_elementwise=True)
        for results in _lowerings(all_of_them, structs, narrow=element in _NARROW)
        for one, result in zip(taken, results, strict=True)
        if not _is_one_operation(result)
    )


@cache
def bodies_by_operation(element: str) -> dict[str, list[Body]]:
    """Returns the bodies of all elementwise functions, by the operation that finishes each."""
    found: dict[str, list[Body]] = {}
    for body in bodies(element):
        found.setdefault(body.results[0].name, []).append(body)
    return found


def _is_one_operation(term: Term) -> bool:
    return all(operand.name == "argument" for operand in term.operands) and not term.regions


@cache
def bodies_for(
    apply: Callable[..., Any], types: tuple[tuple[tuple[int, ...], Any], ...]
) -> tuple[Body, ...]:
    """Returns the bodies of one function for arguments of these shapes and dtypes."""
    structs = [_struct(shape, dtype) for shape, dtype in types]
    if not _takes(apply, structs):
        return ()
    found = _lowerings(apply, structs, narrow=all(dtype.itemsize < 8 for _, dtype in types))
    return tuple(Body(apply, results) for results in found)


def _struct(shape: Sequence[int], dtype: Any) -> Any:
    make: Any = jax.ShapeDtypeStruct  # its constructor has no types
    return make(tuple(shape), np.dtype(dtype))


def _takes(apply: Callable[..., Any], structs: Sequence[Any]) -> bool:
    """Returns whether JAX has the function for arguments of these types."""
    try:
        with jax.enable_x64(True):
            jax.eval_shape(apply, *structs)
    except (TypeError, ValueError, NotImplementedError):
        return False
    return True


def _lowerings(
    function: Callable[..., Any], structs: Sequence[Any], *, narrow: bool
) -> list[tuple[Term, ...]]:
    """Returns what a function returns, once for each way in which it is lowered."""
    found: dict[str, tuple[Term, ...]] = {}
    for wide in (True, False) if narrow else (True,):
        with jax.enable_x64(wide):
            for module in _modules(function, structs):
                text = str(module)
                if text not in found:
                    with module.context:
                        found[text] = _results(module)
    return list(found.values())


def _modules(function: Callable[..., Any], structs: Sequence[Any]) -> Iterator[Any]:
    ready = jax.jit(function, keep_unused=True)
    yield ready.trace(*structs).lower(lowering_platforms=_PLATFORM).compiler_ir("stablehlo")
    data = export.export(ready, platforms=_PLATFORM)(*structs).mlir_module_serialized
    yield stablehlo.deserialize_portable_artifact(make_context(), data)


def _results(module: Any) -> tuple[Term, ...]:
    found = functions(module)
    block = found["main"].regions[0].blocks[0]
    reader = TermReader(Reader(found), block.arguments)
    return tuple(reader.term(value) for value in returned_by(block))
