"""The files of the interface: one module for each directory, with its rows of the node table."""
