"""``python -m tests.soak``: what a mount bears, and what is left of it afterwards.

Not how fast it is (``python -m benchmarks``), but that thousands wait, the engine dies again and
again, and a hundred thousand calls go by, while it answers and stays as small as it was.
"""
