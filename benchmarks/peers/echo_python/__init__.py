"""An echo filesystem in Python that reads /dev/fuse itself."""
