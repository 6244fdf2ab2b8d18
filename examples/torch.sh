#!/usr/bin/env bash
# A PyTorch loss of one image, written as StableHLO by torchax, batched and differentiated by paths:
# the gradient with respect to the pixels, of 64 images at once, shows how to change them so that
# the network is surer of their digits.
# Usage: torch.sh MOUNT
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
jax=${1:?usage: torch.sh MOUNT}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$here/torch/digits_loss.mlir" "$jax/programs/"
# labels as rows of ten, one of them 1
awk '{ printf "%s[", (NR > 1 ? "," : "[")
       for (k = 0; k < 10; k++) printf "%s%d.0", (k ? "," : ""), (k == $1)
       printf "]" } END { print "]" }' "$here/digits/labels.txt" > "$work/labels"

ask() {  # PATH IMAGES: what a transformed program gives for images and labels, as text
    cat "$2" "$work/labels" > "$jax/transformations/$1/digits_loss/calls/torch$$"
    cat "$jax/results/torch$$.txt"
    rm "$jax/results/torch$$"
}

mean() { tr ' ' '\n' | awk '{ sum += $1; n++ } END { printf "%.4f\n", sum / n }'; }

# the images as text, once, through a program that gives back what it gets
echo 'func.func @main(%x: tensor<64x64xf32>) -> tensor<64x64xf32> { return %x : tensor<64x64xf32> }' \
    > "$jax/programs/same.mlir"
cat "$here/digits/images.npy" > "$jax/programs/same/calls/torch$$"
cat "$jax/results/torch$$.json" > "$work/images"
cat "$jax/results/torch$$.txt" > "$work/rows"
rm "$jax/results/torch$$" "$jax/programs/same.mlir"

before=$(ask vmap "$work/images" | mean)
ask vmap/grad "$work/images" > "$work/gradients"          # 64 rows of 64 numbers
paste -d '|' "$work/rows" "$work/gradients" | awk -F '|' '
    { n = split($1, pixel, " "); split($2, gradient, " "); printf "%s[", (NR > 1 ? "," : "[")
      for (i = 1; i <= n; i++) printf "%s%.6f", (i > 1 ? "," : ""), pixel[i] - 0.5 * gradient[i]
      printf "]" } END { print "]" }' > "$work/changed"
after=$(ask vmap "$work/changed" | mean)
echo "mean loss $before, after a step along the gradient $after"
rm "$jax/programs/digits_loss.mlir"
