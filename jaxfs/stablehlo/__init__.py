"""StableHLO <-> JAX: signatures, dtypes and the checks a module must pass.

``signature`` is plain data and imports neither jax nor MLIR: the front reads signatures, only the
tracer and the engine make them.
"""
