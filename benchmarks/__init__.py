"""jaxfs beside its peers: the same program, the same bytes, the same clients, one run.

``python -m benchmarks`` (``make bench``).  The folders:

- ``peers``: the ways to call the program, among them the floors, which compute nothing
- ``clients``: the processes that call, in Python and in C
- ``workloads``: the programs, and what is measured beside calls of one program
- ``report``: targets and tables
"""
