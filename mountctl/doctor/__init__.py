"""``mountctl doctor``: what a mount needs of this machine, each with the remedy where it lacks.

An examination is a function that looks at one thing; the modules' ``EXAMINATIONS`` are their order.
Adding one is adding a function and its test.  Nothing is changed, and no mount is needed.
"""
