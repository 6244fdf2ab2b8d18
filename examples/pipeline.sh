#!/usr/bin/env bash
# Two programs, one after the other, with no client in between: the second is called before the first
# has run, and gets its result by name.
# Usage: pipeline.sh MOUNT [DIM]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jax=${1:?usage: pipeline.sh MOUNT [DIM]} dim=${2:-4}

sed "s/DIM/$dim.0/" "$here/pipeline.mlir" > "$jax/programs/dim.mlir"
cp "$here/digits/digits.jaxexport" "$jax/programs/"
cp "$here/digits/images.npy" "$jax/programs/dim/calls/dimmed$$"
echo "results/dimmed$$" > "$jax/programs/digits/calls/classes$$"   # it may not exist yet
tr ' ' '\n' < "$jax/results/classes$$.txt" | paste -d ' ' - "$here/digits/labels.txt" |
    awk '$1 == $2 { right++ } END { printf "%d of %d digits right\n", right, NR }'
rm "$jax/results/"{dimmed,classes}$$ "$jax/programs/dim.mlir" "$jax/programs/digits.jaxexport"
