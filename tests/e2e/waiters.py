"""Many blocked system calls from one process: each thread of it waits in open(2).

Run as ``python waiters.py PATH COUNT``.  Says ``waiting`` when all threads run and, when all ended,
how often each errno came: ``107:100`` (0: it opened).
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter

STACK_BYTES = 1 << 16


def main(path: str, count: int) -> None:
    ends: list[int] = []  # its append() is atomic, and += of a counter is not

    def wait() -> None:
        try:
            os.close(os.open(path, os.O_RDONLY))
            ends.append(0)
        except OSError as error:
            ends.append(error.errno or -1)

    threading.stack_size(STACK_BYTES)
    threads = [threading.Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    print("waiting", flush=True)
    for thread in threads:
        thread.join()
    print(*(f"{number}:{times}" for number, times in sorted(Counter(ends).items())), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
