"""jaxfs: JAX programs, transformations and devices as files."""

__version__ = "0.1.0"
