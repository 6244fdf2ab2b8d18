"""The layers together: what the zygote prepares once, and what each job enters."""

from __future__ import annotations

import errno
import os
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
from jaxfs.compiler.sandbox.rlimits import Limits

NEEDED = ("landlock", "seccomp")  # what runs a user's Python; either has holes the other closes
_ROOM = ("mountns", "netns", "ipcns", "utsns", "cgroupns")


class Sandbox(msgspec.Struct, frozen=True):
    """What works on this machine, and what it takes to enter it.  Descriptors stay open."""

    layers: tuple[str, ...]
    limits: Limits
    ruleset: int | None  # Landlock's
    proc: int | None  # /proc, which is in no room

    @property
    def fds(self) -> list[int]:
        """The descriptors that ``enter`` needs, and closes."""
        return [fd for fd in (self.ruleset, self.proc) if fd is not None]

    def enter(self, user: identity.SandboxUser, parent: int, device_count: int = 1) -> None:
        """Put this process, forked by ``parent`` and with one thread, under every layer for ever.

        ``user`` counts where the process is root's.  XLA has threads for each of ``device_count``
        devices.  Raises OSError where a layer that worked before does not: then nothing of the
        user's may run.
        """
        rlimits.apply(self.limits, self.proc)
        uid = user.uid if "uid" in self.layers else os.getuid()
        before = 0 if "userns" in self.layers else identity.count_threads(uid, self.proc)
        if "uid" in self.layers:
            identity.switch_user(user)
        if "userns" in self.layers:
            identity.unshare_user_namespace()
        rlimits.limit_threads(before, device_count)
        identity.drop_privileges(parent)
        if self.ruleset is not None:
            landlock.enter(self.ruleset)
        for fd in self.fds:
            os.close(fd)
        if "seccomp" in self.layers:
            seccomp.enter(os.getpid())


def prepare(bounds: Limits) -> Sandbox:
    """Find out what works here, by trying it in processes of its own, and move into a room.

    Call it once all is imported: later imports find only what ``readable`` names.
    """
    paths = import_paths.readable_paths()
    proc = _open_proc()
    layers = ["rlimits", "no_new_privs"]
    rules = _rules(paths)
    if rules is not None:
        layers.append(f"landlock:{landlock.abi_version()}")
    layers += [name for name, attempt in _ATTEMPTS.items() if _works(attempt)]
    if _works(lambda: mount_namespace.enter(paths)):
        mount_namespace.enter(paths)
        layers += _ROOM
        rules = _again(rules, paths)
    return Sandbox(tuple(layers), bounds, rules, proc)


def missing(layers: tuple[str, ...]) -> list[str]:
    """Those of the needed layers that are not among these."""
    return [need for need in NEEDED if not any(layer.startswith(need) for layer in layers)]


def _rules(paths: list[Path]) -> int | None:
    if not landlock.abi_version():
        return None
    rules = landlock.make_ruleset(paths)
    if _works(lambda: _refuses_files(rules)):
        return rules
    os.close(rules)
    return None


def _again(rules: int | None, paths: list[Path]) -> int | None:
    """Landlock knows directories, not names: the room's own count for what lies between them."""
    if rules is None:
        return None
    os.close(rules)
    return landlock.make_ruleset(paths)


def _refuses_files(rules: int) -> None:
    identity.drop_privileges(os.getppid())
    landlock.enter(rules)
    _is_refused(lambda: list(Path("/").iterdir()), errno.EACCES)


def _refuses_calls() -> None:
    identity.drop_privileges(os.getppid())
    seccomp.enter(os.getpid())
    _is_refused(os.pipe, errno.EPERM)


def _is_refused(attempt: Callable[[], object], number: int) -> None:
    try:
        attempt()
    except OSError as error:
        if error.errno == number:
            return
    raise RuntimeError("it lets through what it should not")


def _becomes_nobody() -> None:
    identity.switch_user(identity.job_user(None, None))


def _counts_threads() -> None:
    if os.getuid() == 0:
        _becomes_nobody()
    identity.unshare_user_namespace()


_ATTEMPTS: dict[str, Callable[[], None]] = {
    "seccomp": _refuses_calls,
    "uid": _becomes_nobody,
    "userns": _counts_threads,
}


def _works(attempt: Callable[[], None]) -> bool:
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
