"""What a job does: trace, lower, compile, interpret, draw."""
