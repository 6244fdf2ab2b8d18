"""All layers together: the zygote prepares them once, each job enters them."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from jaxfs.compiler.sandbox import (
    identity,
    import_paths,
    landlock,
    mount_namespace,
    rlimits,
    seccomp,
)
from jaxfs.compiler.sandbox.gpu_tools import NULL, GpuTools, find_tools
from jaxfs.compiler.sandbox.rlimits import Limits

NEEDED = ("landlock", "seccomp")  # for users' Python; either has gaps that the other closes
_SCRATCH = Path("/scratch")  # in the mount namespace
_NAMESPACES = ("mountns", "netns", "ipcns", "utsns", "cgroupns")


class Sandbox(msgspec.Struct, frozen=True):
    """The layers that work on this machine, and the open descriptors for entering them.

    Attributes:
        layers: Their names, as users see them in ``health``.
        limits: The resource limits of each job.
        ruleset: A descriptor of Landlock's ruleset; None if the kernel has no Landlock.
        proc: A descriptor of /proc, which the mount namespace lacks; None if it was hidden.
        readable: The paths that jobs may read.
        tools: What jobs that compile for a GPU need.
        scratch: Where each of these gets a directory of its own; None where there are no tools.
    """

    layers: tuple[str, ...]
    limits: Limits
    ruleset: int | None
    proc: int | None
    readable: tuple[Path, ...] = ()
    tools: GpuTools = GpuTools()
    scratch: Path | None = None

    @property
    def fds(self) -> list[int]:
        """The descriptors that ``enter`` needs, and closes."""
        return [fd for fd in (self.ruleset, self.proc) if fd is not None]

    def enter(
        self,
        user: identity.SandboxUser,
        parent: int,
        device_count: int = 1,
        *,
        runs_tools: bool = False,
    ) -> None:
        """Puts this process, which has one thread, into every layer, irrevocably.

        Args:
            user: The user to become if the process is root's.
            parent: The process that forked this one, and with which it ends.
            device_count: The devices for which XLA will start threads.
            runs_tools: Whether the job runs ``tools``; no code of a user may be run by it.

        Raises:
            OSError: A layer that worked before does not; no code of a user may run then.
        """
        ruleset = self._prepare_tools(user) if runs_tools else self.ruleset
        rlimits.apply(self.limits, self.proc)
        uid = user.uid if "uid" in self.layers else os.getuid()
        before = 0 if "userns" in self.layers else identity.count_threads(uid, self.proc)
        if "uid" in self.layers:
            identity.switch_user(user)
        if "userns" in self.layers:
            identity.unshare_user_namespace()
        rlimits.limit_threads(before, device_count)
        identity.drop_privileges(parent)
        if ruleset is not None:
            landlock.enter(ruleset)
        for fd in {*self.fds, *([] if ruleset is None else [ruleset])}:
            os.close(fd)
        if "seccomp" in self.layers:
            seccomp.enter(os.getpid(), runs_tools=runs_tools)

    def _prepare_tools(self, user: identity.SandboxUser) -> int | None:
        """Makes this process's directory for files of tools, and a ruleset that permits both.

        Returns:
            The ruleset; None where Landlock does not work.
        """
        if self.scratch is None:
            return self.ruleset
        own = self._scratch_of(os.getpid())
        own.mkdir(mode=0o700)
        if "uid" in self.layers:
            os.chown(own, user.uid, user.gid)
        os.environ["TMPDIR"] = str(own)
        if self.ruleset is None:
            return None
        listable = import_paths.listable_paths() if _NAMESPACES[0] in self.layers else []
        command = [path for path in (Path("/proc/self/cmdline"),) if path.exists()]
        writable = (own, *(path for path in self.tools.readable if path == NULL))
        return landlock.make_ruleset(
            [*self.readable, *command], listable, writable, self.tools.programs
        )

    def _scratch_of(self, pid: int) -> Path:
        return Path(self.scratch or "/nonexistent", str(pid))

    def forget(self, pid: int) -> None:
        """Removes what a job that has ended left in its directory, if it had one."""
        if self.scratch is not None:
            shutil.rmtree(self._scratch_of(pid), ignore_errors=True)

    def close(self) -> None:
        """Removes the directory of all jobs, where it is on a disk."""
        if self.scratch is not None and self.scratch != _SCRATCH:
            shutil.rmtree(self.scratch, ignore_errors=True)


def prepare(bounds: Limits) -> Sandbox:
    """Tries each layer in a process of its own, and moves this process into the mount namespace.

    To be called when all is imported: later imports find only ``import_paths``.
    """
    tools = find_tools()
    paths = sorted({*import_paths.readable_paths(), *tools.readable})
    proc = _open_proc()
    layers = ["rlimits", "no_new_privs"]
    ruleset = _working_ruleset(paths)
    if ruleset is not None:
        layers.append(f"landlock:{landlock.abi_version()}")
    layers += [name for name, attempt in _ATTEMPTS.items() if _works(attempt)]
    scratch = _SCRATCH if tools.programs else None
    if _works(lambda: mount_namespace.enter(paths, scratch)):
        mount_namespace.enter(paths, scratch)
        layers += _NAMESPACES
        ruleset = _remade(ruleset, paths)
    elif scratch is not None:
        scratch = Path(tempfile.mkdtemp(prefix="jaxfs-"))
        scratch.chmod(0o711)
    return Sandbox(tuple(layers), bounds, ruleset, proc, tuple(paths), tools, scratch)


def missing(layers: tuple[str, ...]) -> list[str]:
    """Returns the needed layers that are not among these.

    >>> missing(("rlimits", "landlock:6"))
    ['seccomp']
    """
    return [need for need in NEEDED if not any(layer.startswith(need) for layer in layers)]


def _working_ruleset(paths: list[Path]) -> int | None:
    """Returns a ruleset for these paths; None if Landlock is missing or does not work."""
    if not landlock.abi_version():
        return None
    ruleset = landlock.make_ruleset(paths)
    if _works(lambda: _try_landlock(ruleset)):
        return ruleset
    os.close(ruleset)
    return None


def _remade(ruleset: int | None, paths: list[Path]) -> int | None:
    """Returns a new ruleset: rules are for inodes, and the mount namespace has other ones.

    Directories of modules may be listed there: they have nothing but what imports need.
    """
    if ruleset is None:
        return None
    os.close(ruleset)
    return landlock.make_ruleset(paths, import_paths.listable_paths())


def _try_landlock(ruleset: int) -> None:
    """Enters the ruleset, in a throw-away process, and expects that / cannot be listed.

    Raises:
        RuntimeError: It can.
    """
    identity.drop_privileges(os.getppid())
    landlock.enter(ruleset)
    _expect_errno(lambda: list(Path("/").iterdir()), errno.EACCES)


def _try_seccomp() -> None:
    """Enters the filter, in a throw-away process, and expects that a pipe cannot be made.

    Raises:
        RuntimeError: It can.
    """
    identity.drop_privileges(os.getppid())
    seccomp.enter(os.getpid())
    _expect_errno(os.pipe, errno.EPERM)


def _expect_errno(attempt: Callable[[], object], number: int) -> None:
    """Checks that ``attempt`` fails with this errno.

    Raises:
        RuntimeError: It works, or fails with another one.
    """
    try:
        attempt()
    except OSError as error:
        if error.errno == number:
            return
    raise RuntimeError("the layer permits what it should refuse")


def _try_switch_user() -> None:
    identity.switch_user(identity.job_user(None, None))


def _try_user_namespace() -> None:
    if os.getuid() == 0:
        _try_switch_user()
    identity.unshare_user_namespace()


_ATTEMPTS: dict[str, Callable[[], None]] = {
    "seccomp": _try_seccomp,
    "uid": _try_switch_user,
    "userns": _try_user_namespace,
}


def _works(attempt: Callable[[], None]) -> bool:
    """Returns whether ``attempt`` raises nothing in a throw-away process."""
    pid = os.fork()
    if pid == 0:
        try:
            attempt()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _open_proc() -> int | None:
    try:
        return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
