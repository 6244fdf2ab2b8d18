"""From what users write to what engines run.

Everything a user writes is parsed, checked and compiled in throw-away processes (``child``), forked
by a ``zygote`` that has jax imported; ``client`` is all the front sees of it.
"""
