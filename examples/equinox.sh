#!/usr/bin/env bash
# An Equinox network for one image, trained and pickled elsewhere, served to the shell: whole batches
# of images by the path transformations/vmap.
# Usage: equinox.sh MOUNT NETWORK.pkl, which equinox/train.py makes
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jax=${1:?usage: equinox.sh MOUNT NETWORK.pkl} network=${2:?usage: equinox.sh MOUNT NETWORK.pkl}

cp "$network" "$jax/programs/net.pkl"                     # untyped: its types come with the calls
batch=$jax/transformations/vmap/net
cat "$here/digits/images.npy" > "$batch/calls/equinox$$"  # 64 images f32[64,64]: compiled for these
scores=$(cat "$jax/results/equinox$$.txt")                # 64 lines of 10 scores
awk '{ best = 1; for (i = 2; i <= NF; i++) if ($i > $best) best = i; print best - 1 }' \
    <<< "$scores" | paste -d ' ' - "$here/digits/labels.txt" |
    awk '$1 == $2 { right++ } END { printf "%d of %d digits right\n", right, NR }'
rm -f "$jax/results/equinox$$" "$jax/programs/net.pkl"
