"""The README in the mount and the manual page, made from the node table."""
