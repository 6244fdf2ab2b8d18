"""Compiles the C programs of the benchmark: the C floor and the C client."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

OPTIONS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-pthread")


class CannotCompile(Exception):
    """The C compiler or a library is missing, or the source does not compile."""


def compile_c(source: Path, target: Path, *packages: str) -> None:
    """Compiles one source file with -O2.

    Args:
        source: the C file.
        target: where the program goes.
        packages: libraries, by the names that pkg-config knows.

    Raises:
        CannotCompile: if a tool or a library is missing, or the compiler reports an error.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CannotCompile(f"{source.name} needs a C compiler, and there is no cc: install gcc")
    flags = [flag for package in packages for flag in _package_flags(package)]
    command = [compiler, *OPTIONS, "-o", str(target), str(source), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompile(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")


def _package_flags(package: str) -> list[str]:
    if shutil.which("pkg-config") is None:
        raise CannotCompile(f"there is no pkg-config, which finds {package}: install pkg-config")
    command = ["pkg-config", "--cflags", "--libs", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotCompile(
            f"pkg-config does not find {package}; for fuse3 install libfuse3-dev (Debian),"
            f" fuse3-devel (Fedora) or fuse3-dev (Alpine):\n{done.stderr.strip()}"
        )
    return shlex.split(done.stdout)
