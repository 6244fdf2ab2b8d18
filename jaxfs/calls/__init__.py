"""One call, from submission to result: requests, admission, scheduling, replies."""
