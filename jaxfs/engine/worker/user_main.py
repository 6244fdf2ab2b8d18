"""The worker of one user, ``python -m jaxfs.engine.worker.user_main``; else like ``main``.

It gives up rights before anything else is imported: numpy's libraries start threads as they are
loaded, and a thread keeps what it has.
"""

from __future__ import annotations

import sys

from jaxfs.posix import privileges

if __name__ == "__main__":
    privileges.give_up_rights()
    from jaxfs.engine.worker import main

    main.main(*main.arguments(sys.argv))
