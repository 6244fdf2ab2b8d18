"""The command line: mounts jaxfs, unmounts it and watches mounts.

``cli`` has the commands; each does its work in a module of its name.  A failure is an exception
with an exit code (``errors``).  ``daemon`` starts the daemon; all else that a command learns about
a mount comes from the mount's files and from /proc.
"""
