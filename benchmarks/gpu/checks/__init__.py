"""What is checked; ``CHECKS`` of each module has its functions by the names in ``plan``."""
