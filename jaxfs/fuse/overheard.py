"""What C code says on stderr, for the exception that only says that it failed.

libfuse and fusermount3 tell the cause of a failed mount on stderr and nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def overheard() -> Iterator[list[str]]:
    """The lines said inside the context, filled in at its end; they still reach stderr."""
    lines: list[str] = []
    sys.stderr.flush()
    kept, heard = os.dup(2), os.memfd_create("stderr", os.MFD_CLOEXEC)
    os.dup2(heard, 2)
    try:
        yield lines
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        said = os.pread(heard, 1 << 16, 0)
        os.close(heard)
        lines += said.decode(errors="replace").splitlines()
        sys.stderr.write("".join(f"{line}\n" for line in lines))
