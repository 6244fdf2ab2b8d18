"""The process that owns the devices of this machine: loads executables and runs them."""
