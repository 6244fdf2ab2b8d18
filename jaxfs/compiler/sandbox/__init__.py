"""The sandbox of a compiler job: it confines the code of a user.

It has layers, each of which would stop most attacks alone:

- ``rlimits``: memory, threads, descriptors, sizes of files, seconds of CPU (getrlimit(2))
- ``identity``: the user of the request if the zygote is root, never root; no way to gain
  privileges; a user namespace, so that its threads are counted alone (user_namespaces(7))
- ``mount_namespace``: a file system of nothing but modules and libraries, no network
  (mount_namespaces(7), network_namespaces(7))
- ``landlock``: nothing is written, nothing outside of these is read; no TCP, no signals to
  processes outside (landlock(7))
- ``seccomp``: the system calls that a compiler needs, and no others (seccomp(2))

A job that compiles for a GPU runs no code of a user, and may start XLA's assembler: ``gpu_tools``.

The front adds a deadline, and checks the replies (``compiler.client.replies``).
"""

from jaxfs.compiler.sandbox.identity import SandboxUser, job_user
from jaxfs.compiler.sandbox.layers import NEEDED, Sandbox, missing, prepare
from jaxfs.compiler.sandbox.rlimits import Limits

__all__ = ["NEEDED", "Limits", "Sandbox", "SandboxUser", "job_user", "missing", "prepare"]
