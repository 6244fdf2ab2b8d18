#!/usr/bin/awk -f
# awk -v jax=/jax -f saxpy.awk: a call from awk, which knows nothing but files.
BEGIN {
    call = jax "/programs/saxpy/calls/awk"
    print "[1, 2, 3, 4] [10, 20, 30, 40]" > call
    if (close(call) != 0) exit 1
    while ((getline line < (jax "/results/awk.txt")) > 0) print line
    system("rm " jax "/results/awk")   # the id may be used again
}
