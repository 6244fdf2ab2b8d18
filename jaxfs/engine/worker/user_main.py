"""The worker of one user, ``python -m jaxfs.engine.worker.user_main``; otherwise as ``main``.

It gives up its privileges before numpy is imported: numpy's libraries start threads when they are
loaded, and a thread keeps the privileges it has.  So what is imported before starts no threads, and
is little: less code runs with root's rights.
"""

from __future__ import annotations

import sys

from jaxfs.posix import privileges

if __name__ == "__main__":
    privileges.give_up_rights()
    from jaxfs.engine.worker import main  # only now: see above

    main.main(*main.arguments(sys.argv))
