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
    finish() {
        if mountpoint -q "$jax"; then mountctl umount "$jax"; fi
        rmdir "$jax" && rm -rf "$work"   # never through a mount that is still there
    }
    trap finish EXIT
    mountctl mount --state-dir "$work/state" "$jax"
fi

cp "$here/digits.jaxexport" "$jax/programs/"           # compiles
cat "$jax/programs/digits/signature"
cat "$here/images.npy" > "$jax/programs/digits/calls/shell$$"   # submits 64 images
digits=$(cat "$jax/results/shell$$.txt")                # waits for the result: 64 class ids
echo "$digits"
# Each class id gets a line of its own, beside the right one.
paste -d ' ' <(tr ' ' '\n' <<< "$digits") "$here/labels.txt" |
    awk '$1 == $2 { right++ } END { printf "%d of %d digits right\n", right, NR }'
rm -f "$jax/results/shell$$"
