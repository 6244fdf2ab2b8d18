"""Engines run executables; the front speaks one protocol with all of them."""
