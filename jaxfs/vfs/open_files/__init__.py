"""What an open file does: one module per kind."""
