"""A process for each of some names of one user, all of which use the mount at the same time.

Run as ``python busy_client.py stat|write UID PATH...``.  It prints the pids, begins when a line
comes on standard input, prints ``begun``, and ends with them.
"""

from __future__ import annotations

import os
import sys

NBYTES = 1 << 20


def use(kind: str, path: str, go: int, begun: int) -> None:
    fd = os.open(path, os.O_WRONLY) if kind == "write" else -1
    name = os.path.basename(path).encode()
    data = name * (NBYTES // len(name))
    os.write(begun, b"+")
    os.read(go, 1)
    os.write(begun, b"+")
    if kind == "write":
        os.write(fd, data)
    else:
        os.stat(path)


def main(kind: str, uid: int, paths: list[str]) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    go, let_go = os.pipe()
    seen, begun = os.pipe()
    pids = list[int]()
    for path in paths:
        pid = os.fork()
        if not pid:
            os.close(let_go)
            use(kind, path, go, begun)
            os._exit(0)
        pids.append(pid)
    wait_for(seen, len(pids))
    print(*pids, flush=True)
    sys.stdin.readline()
    os.close(let_go)
    wait_for(seen, len(pids))
    print("begun", flush=True)
    for pid in pids:
        os.waitpid(pid, 0)


def wait_for(fd: int, count: int) -> None:
    while count:
        count -= len(os.read(fd, count))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
