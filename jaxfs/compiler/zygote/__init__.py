"""The fork server: imports JAX once; each job is a fork of it."""
