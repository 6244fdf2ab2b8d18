"""What keeps a user's code in: every job of the tracer runs in here.

Layers, each of which would stop most attacks alone:

- ``limits``: memory, threads, descriptors, sizes of files, seconds of CPU
- ``identity``: the asking user's rights where the mount is root's, nobody's instead of root's;
  none to gain; a user namespace of its own, so that threads are counted for it alone
- ``room``: a file system of nothing but modules and libraries, no network (namespaces)
- ``landlock``: nothing written, nothing read outside of these; no TCP, no signals outside
- ``seccomp``: the system calls a compiler needs, and no others

The front adds a deadline, and looks at what comes back (``untrusted``).
"""

from jaxfs.compiler.sandbox.identity import SandboxUser, job_user
from jaxfs.compiler.sandbox.layers import NEEDED, Sandbox, missing, prepare
from jaxfs.compiler.sandbox.rlimits import Limits

__all__ = ["NEEDED", "Limits", "Sandbox", "SandboxUser", "job_user", "missing", "prepare"]
