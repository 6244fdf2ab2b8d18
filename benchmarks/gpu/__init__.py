"""Checks and figures of one NVIDIA GPU, beside plain JAX on the same card in the same run.

``python -m benchmarks.gpu`` (``make gpu``); with ``--platform cpu --small`` it tries itself
(``make gpu-try``).  It needs neither a network nor ``/dev/fuse``; parts that need one of these are
skipped, with the reason.

- ``plan``: every check, with its target, its limit and the process that it runs in
- ``runner``: starts these processes, ends those that take too long, keeps the budget
- ``process``: runs checks one after another, and reports each when it has ended
- ``checks``: what is checked, a module for each kind of process
- ``plain``: the figures of JAX without jaxfs, in a process of its own
- ``report``: docs/reports/gpu.md
- ``bring``, ``on_machine.sh``: collect what a machine without a network lacks, and use it there
"""
