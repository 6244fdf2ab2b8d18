"""The kernel's requests: calls of the VFS, answers, and errnos for errors.

The only package that imports pyfuse3.  ``INTERRUPTS`` is loaded here, because its C library has to
be loaded before pyfuse3 is, and pyfuse3 serves one mount in a process.
"""

from jaxfs.fuse.interrupts import load

INTERRUPTS = load()
