"""The front's side: starts the zygote, sends it jobs, checks what comes back."""
