"""Transformations of programs: ``table`` lists them and imports no jax, ``apply`` applies them."""
