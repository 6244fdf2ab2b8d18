"""The engine process of one user: ``python -m jaxfs.engine.user_worker``, else like ``worker``.

It gives up rights before anything else is imported: numpy's libraries start threads as they are
loaded, and a thread keeps what it has.
"""

from __future__ import annotations

import sys

from jaxfs.posix import privileges

if __name__ == "__main__":
    privileges.give_up_rights()
    from jaxfs.engine import worker

    worker.main(*worker.arguments(sys.argv))
