#!/usr/bin/env bash
# A Flax model, trained elsewhere and exported with jax.export, served to the shell.
# Usage: digits.sh [MOUNT]; without a mount point it mounts one for itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/digits

if [ $# -gt 0 ]; then
    jax=$1
else
    work=$(mktemp -d)
    jax=$work/jax
    mkdir "$jax"
    trap 'mountctl umount "$jax"; rm -rf "$work"' EXIT
    mountctl mount --state-dir "$work/state" "$jax"
fi

cp "$here/digits.jaxexport" "$jax/programs/"           # compiles
cat "$jax/programs/digits/signature"
cat "$here/images.npy" > "$jax/programs/digits/calls/shell$$"   # submits 64 images
# Reading waits for the result; each class id gets a line of its own, beside the right one.
paste -d ' ' <(tr ' ' '\n' < "$jax/results/shell$$.txt") "$here/labels.txt" |
    awk '$1 == $2 { right++ } END { printf "%d of %d digits right\n", right, NR }'
rm -f "$jax/results/shell$$"
