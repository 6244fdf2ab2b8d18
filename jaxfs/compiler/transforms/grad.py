"""grad, value_and_grad, the Jacobians and the Hessian.

Gradients are called ``d_x``; a Jacobian ``d_x`` of the only result and ``d_y_d_x`` of result y.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import jax

from jaxfs.compiler.traceable import Traceable, named_leaves
from jaxfs.compiler.transforms.arguments import check_argnums, describe, is_real
from jaxfs.compiler.transforms.named_outputs import (
    NamedOutputs,
    Pair,
    from_pairs,
    name_outputs,
    value_and_rest,
)
from jaxfs.compiler.transforms.table import Step
from jaxfs.errors import NotSupported

Numbers = tuple[int, ...]
Derive = Callable[..., Any]


def grad(program: Traceable, step: Step) -> Traceable:
    return _with_gradients(program, step, has_value=False)


def value_and_grad(program: Traceable, step: Step) -> Traceable:
    return _with_gradients(program, step, has_value=True)


def _with_gradients(program: Traceable, step: Step, *, has_value: bool) -> Traceable:
    numbers = _argnums(program, step)

    def value(*args: Any) -> tuple[Any, tuple[NamedOutputs, NamedOutputs]]:
        outputs, rest = program.function(*args), NamedOutputs((), ())
        if step["has_aux"]:
            outputs, rest = value_and_rest(outputs)
        results = name_outputs(outputs)
        return _scalar(results, step), (results, rest)

    def function(*args: Any) -> NamedOutputs:
        if not step["allow_int"]:
            _check_real(program, numbers, args, step)
        derive = jax.value_and_grad(
            value,
            argnums=numbers,
            has_aux=True,
            holomorphic=step["holomorphic"],
            allow_int=step["allow_int"],
        )
        (_, (results, rest)), gradients = derive(*args)
        values = results.pairs if has_value else []
        return from_pairs([*values, *_slopes(program, numbers, gradients), *rest.pairs])

    return attrs.evolve(program, function=function, donated=())


def jacobian(derive: Derive) -> Callable[[Traceable, Step], Traceable]:
    """jacfwd or jacrev."""

    def apply(program: Traceable, step: Step) -> Traceable:
        def function(*args: Any) -> NamedOutputs:
            slopes, rest = _jacobian(derive, program, step, program.function, args)
            return from_pairs([*slopes.pairs, *rest.pairs])

        _argnums(program, step)
        return attrs.evolve(program, function=function, donated=())

    return apply


def hessian(program: Traceable, step: Step) -> Traceable:
    """jacfwd of jacrev, as JAX does it."""

    def slopes(*args: Any) -> Any:
        found, rest = _jacobian(jax.jacrev, program, step, program.function, args)
        return (found, rest) if step["has_aux"] else found

    def function(*args: Any) -> NamedOutputs:
        found, rest = _jacobian(jax.jacfwd, program, step, slopes, args)
        return from_pairs([*found.pairs, *rest.pairs])

    _argnums(program, step)
    return attrs.evolve(program, function=function, donated=())


def _jacobian(
    derive: Derive, program: Traceable, step: Step, function: Callable[..., Any], args: Any
) -> tuple[NamedOutputs, NamedOutputs]:
    """The derivatives of each result by each input, and what only passes through."""
    numbers = _argnums(program, step)
    _check_real(program, numbers, args, step)

    def results(*args: Any) -> tuple[NamedOutputs, NamedOutputs]:
        outputs, rest = function(*args), NamedOutputs((), ())
        if step["has_aux"]:
            outputs, rest = value_and_rest(outputs)
        found = name_outputs(outputs)
        _check_all_real(found.pairs, step, "results")
        return found, rest

    derived = derive(results, argnums=numbers, has_aux=True, holomorphic=step["holomorphic"])
    by_result, rest = derived(*args)
    pairs = [
        (_of(result, slope), value)
        for result, slopes in by_result.pairs
        for slope, value in _slopes(program, numbers, slopes)
    ]
    return NamedOutputs([name for name, _ in pairs], [value for _, value in pairs]), rest


def _of(result: str, slope: str) -> str:
    if result == "result":
        return slope
    return f"{result if result.startswith('d_') else f'd_{result}'}_{slope}"


def _slopes(program: Traceable, numbers: Numbers, gradients: Sequence[Any]) -> list[Pair]:
    return [
        pair
        for number, gradient in zip(numbers, gradients, strict=True)
        for pair in named_leaves(f"d_{program.parameter(number)}", gradient)
    ]


def _argnums(program: Traceable, step: Step) -> Numbers:
    return check_argnums(program, step["argnums"], f"{step.row.name}:argnums")


# What has no derivative


def _scalar(results: NamedOutputs, step: Step) -> Any:
    name = step.row.name
    if [value.shape for value in results.values] != [()]:
        raise NotSupported(
            f"{name} needs a program with one scalar result, and this one gives "
            f"{describe(results.pairs)}; use jacrev or jacfwd instead, or vmap/{name} over a program "
            f"that takes one example" + ("" if step["has_aux"] else f", or {name}:has_aux=1")
        )
    _check_all_real(results.pairs, step, "a result")
    return results.values[0]


def _check_real(program: Traceable, numbers: Numbers, args: Sequence[Any], step: Step) -> None:
    pairs = [
        pair
        for number in numbers
        if number < len(args)  # else JAX says so
        for pair in named_leaves(program.parameter(number), args[number])
    ]
    hint = f"; choose others with {step.row.name}:argnums="
    _check_all_real(pairs, step, "inputs", hint)


def _check_all_real(pairs: Sequence[Pair], step: Step, what: str, hint: str = "") -> None:
    wrong = [(name, value) for name, value in pairs if not is_real(value)]
    if wrong:
        raise NotSupported(
            f"{step.row.name} needs {what} of floating-point type, and this is {describe(wrong)}{hint}"
        )
