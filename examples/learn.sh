#!/usr/bin/env bash
# A network learns to read digits, in a shell: random weights from a program, then two file
# operations a step.  No step waits for the one before, and no weights leave the device's side.
# Usage: learn.sh MOUNT [STEPS [SEED]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/learn
jax=${1:?usage: learn.sh MOUNT [STEPS [SEED]]} steps=${2:-300} seed=${3:-1}
every=$(((steps + 19) / 20))   # of so many steps one's loss is shown

cp "$here"/{init,step,accuracy}.mlir "$jax/programs/"
for part in train test; do cp "$here/$part.safetensors" "$jax/arrays/$part"; done
echo "$seed" > "$jax/programs/init/calls/params"
mv "$jax/results/params" "$jax/arrays/params"

for ((i = 0; i < steps; i++)); do
    echo "arrays/params arrays/train.images arrays/train.labels" > "$jax/programs/step/calls/step"
    if ((i % every == 0)); then ln "$jax/results/step.result.1" "$jax/arrays/loss$i"; fi
    mv "$jax/results/step.result.0" "$jax/arrays/params"   # result.0 is a pytree of four arrays
    rm "$jax/results/step"
done

for ((i = 0; i < steps; i += every)); do   # only here is anything waited for
    echo "$i $(cat "$jax/arrays/loss$i.txt")"
    rm "$jax/arrays/loss$i"
done | awk '{ if ($2 > most) most = $2
              bar = sprintf("%*s", 60 * $2 / most + 0.5, ""); gsub(" ", "#", bar)
              printf "%5d %7.4f %s\n", $1, $2, bar }'

echo "arrays/params arrays/test.images arrays/test.labels" > "$jax/programs/accuracy/calls/right"
awk '{ printf "%.1f %% of the held-out digits right\n", 100 * $1 }' "$jax/results/right.txt"
rm "$jax/results/right" "$jax"/arrays/{params,train,test} "$jax"/programs/{init,step,accuracy}.mlir
