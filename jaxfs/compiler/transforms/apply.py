"""Applies transformations to a program: one function for each row of ``table``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
import jax

from jaxfs.compiler.traceable import Traceable
from jaxfs.compiler.transforms.arguments import check_argnums
from jaxfs.compiler.transforms.grad import grad, hessian, jacobian, value_and_grad
from jaxfs.compiler.transforms.jvp_vjp import jvp, linearize, vjp
from jaxfs.compiler.transforms.pmap import pmap
from jaxfs.compiler.transforms.shardings import with_shardings
from jaxfs.compiler.transforms.table import Step, parse
from jaxfs.compiler.transforms.vmap import vmap

Apply = Callable[[Traceable, Step], Traceable]


def transform(program: Traceable, steps: Sequence[str]) -> Traceable:
    """Returns the program after all steps, the last one first: ``vmap/grad`` is vmap of grad.

    Raises:
        Invalid: A step does not fit the program's inputs.  Steps that do not fit its computation
            raise when it is traced.
    """
    for text in reversed(steps):
        step = parse(text)
        program = _APPLY[step.transformation.name](program, step)
    return program


_REVERSE = frozenset({"grad", "value_and_grad", "jacrev", "hessian", "vjp"})
_FORWARD = frozenset({"jacfwd", "jvp", "linearize"})


def starts_in_reverse(steps: Sequence[str]) -> bool:
    """Returns whether the first derivative that is taken of a program is a reverse one."""
    names = [parse(text).transformation.name for text in reversed(steps)]
    derivatives = [name for name in names if name in _REVERSE or name in _FORWARD]
    return bool(derivatives) and derivatives[0] in _REVERSE


def _jit(program: Traceable, step: Step) -> Traceable:
    """As jax.jit: donates arguments, and shards arrays over a mesh."""
    donated = check_argnums(program, step["donate_argnums"], "jit:donate_argnums")
    program = with_shardings(program, step)
    return attrs.evolve(program, donated=tuple(sorted({*program.donated, *donated})))


def _checkpoint(program: Traceable, step: Step) -> Traceable:
    """As jax.checkpoint."""
    function = jax.checkpoint(program.function, prevent_cse=step["prevent_cse"])
    return attrs.evolve(program, function=function)


_APPLY: dict[str, Apply] = {
    "grad": grad,
    "value_and_grad": value_and_grad,
    "jacfwd": jacobian(jax.jacfwd),
    "jacrev": jacobian(jax.jacrev),
    "hessian": hessian,
    "jit": _jit,
    "vmap": vmap,
    "pmap": pmap,
    "jvp": jvp,
    "linearize": linearize,
    "vjp": vjp,
    "checkpoint": _checkpoint,
}
