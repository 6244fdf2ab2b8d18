"""Every private name of jax that jaxfs needs, in one package.

Tested with jax 0.10.2 and 0.12.0.  Only the compiler's jobs and the workers import it.
"""
