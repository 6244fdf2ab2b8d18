"""One call, from submission to result."""
