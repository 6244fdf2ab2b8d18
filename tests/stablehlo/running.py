"""Programs run in this process, as XLA runs them and through the importer."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxfs.jaxcompat.mlir import make_context
from jaxfs.stablehlo import import_module
from jaxfs.stablehlo.importer.opaque import opaque_p
from jaxfs.stablehlo.importer.single_op_module import text_of
from jaxfs.stablehlo.module.canonicalize import normalise
from jaxfs.stablehlo.module.entry_function import find_main, read_signature
from jaxfs.stablehlo.module.parse import parse_text


def directly(text: str, *inputs: Any) -> list[Any]:
    """Returns the outputs of a program in the form that is compiled without transformations."""
    return _run(_direct(text), inputs)


def transformed(text: str, *inputs: Any) -> list[Any]:
    """Returns the outputs of the imported program under ``jit``."""
    return _run(_imported(text), inputs)


def batched(text: str, *inputs: Any) -> list[Any]:
    """Returns the outputs for the first of two equal elements of a batch."""
    return _run(_batch(text), inputs)


def _run(program: tuple[Any, Callable[..., Any]], inputs: Any) -> list[Any]:
    signature, run = program
    return [np.asarray(one) for one in run(*typed(signature, inputs))]


@lru_cache(4)  # of a test's programs, which it runs several times
def _direct(text: str) -> tuple[Any, Callable[..., Any]]:
    module = parse_text(make_context(), text)
    with module.context:
        normalise(module)
        signature = read_signature(find_main(module))
    outputs = tuple((aval.shape, aval.row.numpy) for aval in signature.output_avals)
    as_it_is = text_of(module)
    return signature, jax.jit(
        lambda *xs: opaque_p.bind(*xs, text=as_it_is, outputs=outputs, what="it")
    )


@lru_cache(4)
def _imported(text: str) -> tuple[Any, Callable[..., Any]]:
    function = import_module(text)
    return function.signature, jax.jit(function)


@lru_cache(4)
def _batch(text: str) -> tuple[Any, Callable[..., Any]]:
    function = import_module(text)
    run = jax.jit(jax.vmap(function))
    return function.signature, lambda *xs: [y[0] for y in run(*(jnp.stack([x, x]) for x in xs))]


def typed(signature: Any, inputs: Any) -> list[Any]:
    """Returns numbers or arrays in the dtypes of a program's inputs."""
    dtypes = [aval.row.numpy for aval in signature.input_avals]
    return [jnp.asarray(np.asarray(x).astype(d)) for x, d in zip(inputs, dtypes, strict=True)]


WAYS = {"directly": directly, "transformed": transformed, "batched": batched}
