"""Loops: counted ones become ``lax.scan``, which reverse mode takes; others ``lax.while_loop``."""
