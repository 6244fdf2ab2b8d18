#!/usr/bin/env bash
# The main job, through plain file operations: mount, compile, call, read.  `make demo` runs it.
set -euo pipefail
cd "$(dirname "$0")"

work=$(mktemp -d)
jax=$work/jax
mkdir "$jax"
finish() {
    if mountpoint -q "$jax"; then mountctl umount "$jax"; fi
    rm -rf "$work"
}
trap finish EXIT

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
run() { say "$*"; eval "$*"; }

run "mountctl mount --state-dir $work/state $jax"
cd "$jax"
run "ls"
run "cp $OLDPWD/saxpy.mlir programs/            # compiles"
run "cat programs/saxpy/status"
run "cat programs/saxpy/signature"
run "echo '[1, 2, 3, 4] [10, 20, 30, 40]' > programs/saxpy/calls/job1   # closing the file submits it"
run "cat results/job1.txt                       # waits for the device"
run "ls -l results/job1                         # .npy, of exact size"
say "exec 3<>programs/saxpy/call; echo '[1, 1, 1, 1] [0, 0, 0, 0]' >&3; cat <&3     # a conversation"
exec 3<>programs/saxpy/call
echo '[1, 1, 1, 1] [0, 0, 0, 0]' >&3
cat <&3
exec 3>&-
say "echo 'not a program' > programs/bad.mlir; cat programs/bad/error"
/bin/echo 'not a program' > programs/bad.mlir || true
cat programs/bad/error
run "cat devices/*/kind"
run "echo '[1, 2, 3]' > programs/saxpy/calls/job2 || true; cat results/job2.error"
cd "$OLDPWD"
run "mountctl umount $jax"
