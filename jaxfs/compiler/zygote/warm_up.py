"""Warms up the zygote: does once what is slow the first time, instead of in every job.

JAX traces a function, which imports and caches much; it neither lowers nor computes, because that
would start its backend, and threads, which a fork does not keep.
"""

from __future__ import annotations

import importlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
from jaxlib.mlir import ir

from jaxfs.compiler.job_protocol import Trace
from jaxfs.compiler.jobs.trace import trace
from jaxfs.compiler.sources.jit_options import FunctionOptions
from jaxfs.compiler.sources.pickle import read_pickle
from jaxfs.compiler.traceable import shape_struct
from jaxfs.compiler.transforms.apply import transform
from jaxfs.jaxcompat import executables

_PROGRAM = b"""
func.func @main(%x: tensor<2xf32>) -> tensor<2xf32> {
  %0 = stablehlo.add %x, %x : tensor<2xf32>
  return %0 : tensor<2xf32>
}
"""
_STEPS = ("vmap:axis_size=2", "grad")


def warm_up(context: ir.Context) -> None:
    """Reads StableHLO and a pickle, and traces a small network and its gradient."""
    importlib.import_module("cloudpickle")  # most pickles import it
    executables.skip_plugin_discovery()
    trace(context, _PROGRAM, Trace("cpu"))
    weights, x = shape_struct((2, 2), "float32"), shape_struct((2, 2), "float32")
    program = read_pickle(pickle.dumps((_network, weights, x)), FunctionOptions())
    with jax.enable_x64(False):
        for steps in ((), _STEPS):
            ready = transform(program, steps)
            jax.jit(ready.function).trace(*ready.args or ())


def _network(w: Any, x: Any) -> Any:
    hidden = jax.nn.relu(jnp.tanh(x @ w + 1.0))
    return jnp.mean(jax.nn.softmax(hidden).sum(axis=0))
