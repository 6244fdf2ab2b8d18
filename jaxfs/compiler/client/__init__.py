"""The front's side of the compiler: starts the zygote, sends it jobs, checks their replies."""
