"""How each operation becomes jax.lax: one module per section of the StableHLO specification."""
