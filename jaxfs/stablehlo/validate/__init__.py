"""Refuse modules that would stop or crash the process that compiles or runs them."""
