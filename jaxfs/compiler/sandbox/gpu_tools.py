"""The programs that XLA runs when it compiles for an NVIDIA GPU: ``ptxas`` and ``nvlink``.

XLA's plugin has no assembler of its own.  It writes the PTX of a kernel to a file in TMPDIR, runs
the assembler and reads what that made.  It looks for CUDA where this module does: in CUDA_ROOT,
which JAX reads, in the packages of NVIDIA, in ``--xla_gpu_cuda_data_dir``, in /usr/local, and in
PATH.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

NAMES = ("ptxas", "nvlink")
NULL = Path("/dev/null")  # their standard input
_LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")  # execve(2) opens these
_DATA_DIR = re.compile(r"--xla_gpu_cuda_data_dir=(\S+)")


class GpuTools(msgspec.Struct, frozen=True):
    """What a job that compiles for a GPU needs beside what each job has.

    Attributes:
        programs: The files that it may execute; empty where CUDA or JAX's plugin for it is missing.
        readable: The files and directories that it and these programs read.
    """

    programs: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()


def find_tools() -> GpuTools:
    """Returns the tools of every CUDA that XLA might find on this machine."""
    if not any(any((Path(entry) / "jax_plugins").glob("xla_cuda*")) for entry in sys.path):
        return GpuTools()
    roots = [root for root in dict.fromkeys(_roots()) if (root / "bin" / NAMES[0]).is_file()]
    programs = [path for root in roots for name in NAMES if (path := root / "bin" / name).is_file()]
    if not programs:
        return GpuTools()
    loaders = [path for path in map(Path, _LOADERS) if path.exists()]
    libraries = [path for root in roots if (path := root / "nvvm" / "libdevice").is_dir()]
    return GpuTools((*programs, *loaders), (*programs, *libraries, NULL))


def _roots() -> Iterator[Path]:
    """Yields the directories that may have a CUDA."""
    if (root := Path(os.environ.get("CUDA_ROOT", ""))).is_absolute():
        yield root
    yield from map(Path, _DATA_DIR.findall(os.environ.get("XLA_FLAGS", "")))
    for entry in map(Path, sys.path):
        yield from (path for path in (entry / "nvidia").glob("*") if path.is_dir())
    yield from Path("/usr/local").glob("cuda*")
    for directory in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        if directory.is_absolute():
            yield directory.parent
