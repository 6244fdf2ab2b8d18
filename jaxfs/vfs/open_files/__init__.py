"""Open files: one module per kind, and the table of all that are open."""
