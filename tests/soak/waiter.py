"""``python -m tests.soak.waiter PATH COUNT``: a process; all its threads wait in open(2)."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

STACK_BYTES = 1 << 16


def main(path: str, count: int) -> None:
    """Returns when all have ended, whichever way."""

    def wait() -> None:
        with suppress(OSError):
            os.close(os.open(path, os.O_RDONLY))

    threading.stack_size(STACK_BYTES)
    threads = [threading.Thread(target=wait) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
