"""The work of a job, in a throw-away process: trace, lower, compile, interpret, draw."""
