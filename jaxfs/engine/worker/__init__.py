"""The process that owns the devices of this machine: loads executables, runs them."""
