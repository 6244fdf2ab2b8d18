"""Loops: with a known trip count ``lax.scan``, which has reverse mode, else ``lax.while_loop``."""
