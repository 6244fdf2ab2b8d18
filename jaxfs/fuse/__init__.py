"""The only place that imports pyfuse3: requests in, tree operations out, errors to errno."""
