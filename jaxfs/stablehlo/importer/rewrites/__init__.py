"""Patterns of operations that are replaced by others with a better derivative or lower cost."""
