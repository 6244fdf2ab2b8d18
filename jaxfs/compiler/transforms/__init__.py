"""Transformations of programs.

``table`` says what there is and imports no jax; ``apply`` does it.
"""
