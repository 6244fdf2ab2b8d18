"""Open files: one module per kind."""
