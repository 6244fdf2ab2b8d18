"""The only place that imports pyfuse3: requests in, tree operations out, errors to errno.

``INTERRUPTS`` is loaded here because its C library has to be there before pyfuse3 is.
"""

from jaxfs.fuse.interrupts import load

INTERRUPTS = load()
