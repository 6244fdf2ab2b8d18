"""Parsers of what users write under ``programs/``: one module for each source format."""
