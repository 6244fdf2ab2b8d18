"""The front's side of an engine: sends runs to the worker and survives its death."""
