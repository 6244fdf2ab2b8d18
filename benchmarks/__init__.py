"""jaxfs beside its peers: the same program, the same bytes, the same client loop, one run.

``python -m benchmarks`` (``make bench``).  ``peers`` are the ways to call the program, ``clients``
the processes that call it, ``measure`` the loop they run, ``lifecycle`` what only a mount has.
"""
