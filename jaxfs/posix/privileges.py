"""The privileges of a worker that runs as a user: its identity, environment and capabilities."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
from pathlib import Path

import msgspec

from jaxfs.posix import syscalls
from jaxfs.posix.child_setup import die_with_parent

_PR_CAPBSET_DROP = 24
_KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "JAXFS_SPIN")
# The families of variables that JAX's platforms and their libraries read.
_KEPT_PREFIXES = (
    *("JAX_", "JAXLIB_", "XLA_", "PJRT_", "TF_", "XRT_"),
    *("CUDA_", "NVIDIA_", "NCCL_", "CUDNN_", "CUBLAS_", "CUBLASLT_", "CUSOLVER_", "CUSPARSE_"),
    *("CUFFT_", "NVTE_", "NVSHMEM_", "NVRTC_", "NVCC_", "TRITON_", "UCX_"),
    *("ROCM_", "ROCR_", "HIP_", "HSA_", "AMD_", "GPU_", "MIOPEN_", "ROCBLAS_", "HIPBLASLT_"),
    *("RCCL_", "TENSILE_"),
    *("TPU_", "LIBTPU_", "MEGASCALE_", "CLOUD_TPU_"),
)


class User(msgspec.Struct, frozen=True):
    """The user that a process becomes.

    Attributes:
        uid: The user.
        gid: The group.
        groups: The supplementary groups.
        home: The home directory.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @classmethod
    def known_as(cls, uid: int) -> User:
        """Returns a user with the groups of the system's database, which may open devices."""
        try:
            entry = pwd.getpwuid(uid)
        except KeyError:
            return cls(uid, uid, (), "/")
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
        others = tuple(gid for gid in groups if gid != entry.pw_gid)
        return cls(uid, entry.pw_gid, others, entry.pw_dir)


def environment(user: User) -> dict[str, str]:
    """Returns the part of our environment that a process of another user gets."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return {**kept, "HOME": user.home}


def give_up_rights() -> None:
    """Takes the means to gain privileges from this process and its children, irrevocably.

    Sets no_new_privs, empties the capability bounding set, and forbids core dumps.  Call it before
    there are threads: the first two are attributes of a thread.  The capabilities the process has
    now end with ``become``.
    """
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(_last_capability() + 1):
        syscalls.prctl(_PR_CAPBSET_DROP, capability)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _last_capability() -> int:
    """Returns the largest number of a capability in this kernel.

    Returns:
        40 (CAP_CHECKPOINT_RESTORE, since Linux 5.9) where /proc does not have it.
    """
    with contextlib.suppress(OSError):
        return int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    return 40


def become(user: User, parent: int) -> None:
    """Takes a user's identity, in all threads and irrevocably, and still dies with ``parent``.

    Raises:
        OSError: We are not root.
    """
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)  # other processes of the user may not look into it
    die_with_parent(parent)  # again: a change of user clears the signal
