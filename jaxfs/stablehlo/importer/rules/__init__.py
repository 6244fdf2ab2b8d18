"""Rules that import operations as jax.lax, in modules of related operations.

Each module's docstring names its sections of the specification, https://github.com/openxla/stablehlo/blob/main/docs/spec.md.
"""
