"""``mountctl doctor``: checks what a mount needs of this machine, and prints remedies.

An examination is a function that checks one thing; ``EXAMINATIONS`` of each module is their order.
A new one is a function and its test.  Nothing is changed, and no mount is needed.
"""
