#!/usr/bin/env bash
# Training in a shell: the gradient is a path, the weights are a file, and every step is two calls
# that refer to arrays and results by name.  Nothing is copied to or from the device, and nothing is
# waited for until the end.
# Usage: train.sh MOUNT [STEPS]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jax=${1:?usage: train.sh MOUNT [STEPS]} steps=${2:-100}

cp "$here"/train/{loss,descend,classes}.mlir "$jax/programs/"
cp "$here/digits/images.npy" "$jax/arrays/images"
# labels as rows of ten, one of them 1; and weights to begin with, all 0
awk '{ printf "%s[", (NR > 1 ? "," : "[")
       for (k = 0; k < 10; k++) printf "%s%d.0", (k ? "," : ""), (k == $1)
       printf "]" } END { print "]" }' "$here/digits/labels.txt" > "$jax/arrays/labels"
awk 'BEGIN { for (i = 0; i < 64; i++) printf "%s[0.0,0,0,0,0,0,0,0,0,0]", (i ? "," : "[")
             print "]" }' > "$jax/arrays/w"

ask() {  # PROGRAM INPUTS: its answer, as text
    echo "$2" > "$jax/programs/$1/calls/train$$"
    cat "$jax/results/train$$.txt"
    rm "$jax/results/train$$"
}

before=$(ask loss "arrays/w arrays/images arrays/labels")
for _ in $(seq "$steps"); do
    echo "arrays/w arrays/images arrays/labels" > "$jax/transformations/grad/loss/calls/g"
    mv "$jax/results/g" "$jax/arrays/g"
    echo "arrays/w arrays/g" > "$jax/programs/descend/calls/w"
    mv "$jax/results/w" "$jax/arrays/w"
done
after=$(ask loss "arrays/w arrays/images arrays/labels")
echo "loss $before, after $steps steps $after"
ask classes "arrays/w arrays/images" | tr ' ' '\n' | paste -d ' ' - "$here/digits/labels.txt" |
    awk '$1 == $2 { right++ } END { printf "%d of %d digits right\n", right, NR }'
rm "$jax"/arrays/{w,g,images,labels} "$jax"/programs/{loss,descend,classes}.mlir
