"""From the sources that users write to the executables that engines run.

Everything a user writes is parsed, checked and compiled in throw-away processes (``jobs``), forked
by a ``zygote`` that has jax imported and confined by a ``sandbox``.  The front imports ``client``
and never jax.
"""
