"""A state machine that does to a mount what users do, beside a reference that is a few dicts."""
