"""Bytes <-> typed buffers, and nothing else: no files, no devices, no JAX."""
