"""Gradients, Jacobians and the Hessian.

The gradient by x is called ``d_x``.  A Jacobian is ``d_x`` for the only result and ``d_y_d_x`` for
result y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax

from jaxfs.compiler.traceable import Traceable, named_leaves
from jaxfs.compiler.transforms.arguments import check_argnums, describe, is_differentiable
from jaxfs.compiler.transforms.named_outputs import (
    NamedOutputs,
    Pair,
    from_pairs,
    name_outputs,
    value_and_aux,
)
from jaxfs.compiler.transforms.table import Step
from jaxfs.errors import NotSupported

Numbers = tuple[int, ...]
Derive = Callable[..., Any]


def grad(program: Traceable, step: Step) -> Traceable:
    """As jax.grad: the outputs are gradients, then the auxiliary outputs."""
    return _with_gradients(program, step, has_value=False)


def value_and_grad(program: Traceable, step: Step) -> Traceable:
    """As jax.value_and_grad: the outputs are the value, gradients, the auxiliary outputs."""
    return _with_gradients(program, step, has_value=True)


def _with_gradients(program: Traceable, step: Step, *, has_value: bool) -> Traceable:
    argnums = _argnums(program, step)

    def value(*args: Any) -> tuple[Any, tuple[NamedOutputs, NamedOutputs]]:
        outputs, aux = program.function(*args), NamedOutputs((), ())
        if step["has_aux"]:
            outputs, aux = value_and_aux(outputs)
        results = name_outputs(outputs)
        return _scalar(results, step), (results, aux)

    def function(*args: Any) -> NamedOutputs:
        if not step["allow_int"]:
            _check_inputs(program, argnums, args, step)
        derive = jax.value_and_grad(
            value,
            argnums=argnums,
            has_aux=True,
            holomorphic=step["holomorphic"],
            allow_int=step["allow_int"],
        )
        (_, (results, aux)), gradients = derive(*args)
        values = results.pairs if has_value else []
        return from_pairs([*values, *_named_by_input(program, argnums, gradients), *aux.pairs])

    return attrs.evolve(program, function=function, donated=())


def jacobian(derive: Derive) -> Callable[[Traceable, Step], Traceable]:
    """Returns the transformation of ``derive``, which is jax.jacfwd or jax.jacrev."""

    def apply(program: Traceable, step: Step) -> Traceable:
        def function(*args: Any) -> NamedOutputs:
            derivatives, aux = _jacobian(derive, program, step, program.function, args)
            return from_pairs([*derivatives.pairs, *aux.pairs])

        _argnums(program, step)
        return attrs.evolve(program, function=function, donated=())

    return apply


def hessian(program: Traceable, step: Step) -> Traceable:
    """As jax.hessian: jacfwd of jacrev."""

    def first(*args: Any) -> Any:
        derivatives, aux = _jacobian(jax.jacrev, program, step, program.function, args)
        return (derivatives, aux) if step["has_aux"] else derivatives

    def function(*args: Any) -> NamedOutputs:
        derivatives, aux = _jacobian(jax.jacfwd, program, step, first, args)
        return from_pairs([*derivatives.pairs, *aux.pairs])

    _argnums(program, step)
    return attrs.evolve(program, function=function, donated=())


def _jacobian(
    derive: Derive, program: Traceable, step: Step, function: Callable[..., Any], args: Any
) -> tuple[NamedOutputs, NamedOutputs]:
    """Returns the derivatives of each result by each input, and the auxiliary outputs."""
    argnums = _argnums(program, step)
    _check_inputs(program, argnums, args, step)

    def results(*args: Any) -> tuple[NamedOutputs, NamedOutputs]:
        outputs, aux = function(*args), NamedOutputs((), ())
        if step["has_aux"]:
            outputs, aux = value_and_aux(outputs)
        found = name_outputs(outputs)
        _check_differentiable(found.pairs, step, "results")
        return found, aux

    derived = derive(results, argnums=argnums, has_aux=True, holomorphic=step["holomorphic"])
    by_result, aux = derived(*args)
    pairs = [
        (_derivative_name(result, by_input), value)
        for result, derivatives in by_result.pairs
        for by_input, value in _named_by_input(program, argnums, derivatives)
    ]
    return NamedOutputs([name for name, _ in pairs], [value for _, value in pairs]), aux


def _derivative_name(result: str, by_input: str) -> str:
    """Returns ``d_y_d_x`` for the result ``y`` by ``d_x``, ``d_x_d_x`` for the result ``d_x``."""
    if result == "result":
        return by_input
    return f"{result if result.startswith('d_') else f'd_{result}'}_{by_input}"


def _named_by_input(program: Traceable, argnums: Numbers, gradients: Sequence[Any]) -> list[Pair]:
    """Returns the leaves of each gradient, as ``d_`` and the name of their input."""
    return [
        pair
        for number, gradient in zip(argnums, gradients, strict=True)
        for pair in named_leaves(f"d_{program.parameter(number)}", gradient)
    ]


def _argnums(program: Traceable, step: Step) -> Numbers:
    return check_argnums(program, step["argnums"], f"{step.transformation.name}:argnums")


# Checks


def _scalar(results: NamedOutputs, step: Step) -> Any:
    """Returns the only result.

    Raises:
        NotSupported: There are others, or it is not a scalar of a differentiable type.
    """
    name = step.transformation.name
    if [value.shape for value in results.values] != [()]:
        raise NotSupported(
            f"{name} needs a program with one scalar result, and this one gives "
            f"{describe(results.pairs)}; use jacrev or jacfwd instead, or vmap/{name} over a "
            f"program that takes one example"
            + ("" if step["has_aux"] else f", or {name}:has_aux=1")
        )
    _check_differentiable(results.pairs, step, "a result")
    return results.values[0]


def _check_inputs(program: Traceable, argnums: Numbers, args: Sequence[Any], step: Step) -> None:
    pairs = [
        pair
        for number in argnums
        if number < len(args)  # JAX raises for others
        for pair in named_leaves(program.parameter(number), args[number])
    ]
    hint = f"; choose others with {step.transformation.name}:argnums="
    _check_differentiable(pairs, step, "inputs", hint)


def _check_differentiable(pairs: Sequence[Pair], step: Step, what: str, hint: str = "") -> None:
    """Checks that values are of floating-point or complex type.

    Raises:
        NotSupported: One is an integer or boolean; the message ends with ``hint``.
    """
    wrong = [(name, value) for name, value in pairs if not is_differentiable(value)]
    if wrong:
        raise NotSupported(
            f"{step.transformation.name} needs {what} of floating-point type, and this is "
            f"{describe(wrong)}{hint}"
        )
