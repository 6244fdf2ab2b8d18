"""The command line: mount, unmount and look at jaxfs mounts.

Each command is a module of its name.  A refusal is an exception with its exit code (``errors``);
the daemon is started by ``daemon`` and is otherwise only talked to through its files.
"""
