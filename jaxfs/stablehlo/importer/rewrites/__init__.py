"""Patterns of operations that are replaced because their derivative or cost is better so."""
