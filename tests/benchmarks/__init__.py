"""The benchmark measures what it claims to; no test here decides by time."""
