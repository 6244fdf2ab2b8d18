"""The paths that a job may read: modules that are imported late, and the libraries they load."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxfs

_SYSTEM = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/dev/urandom",  # std::random_device opens it
    "/proc/cpuinfo",  # LLVM reads the features of some processors there
    "/sys/devices/system/cpu",
)
_INSTALLED = ("site-packages", "dist-packages", "lib-dynload")
_MODULE_SUFFIXES = (".py", ".so", ".pyc")
_OURS = Path(jaxfs.__file__).parent
_ESCAPED = re.compile(r"\\([0-7]{3})")


def readable_paths() -> list[Path]:
    """Returns the paths of this interpreter that exist, without any FUSE mount below one."""
    named = [*map(Path, _SYSTEM), Path(sys.base_prefix, "lib"), *_libraries(), *_editable()]
    for entry in map(Path, sys.path):
        named += [entry] if _is_installed(entry) else _importable(entry)
    mounts = _fuse_mounts()
    return sorted({part for path in named if _is_narrow(path) for part in _around(path, mounts)})


def listable_paths() -> list[Path]:
    """Returns the directories in which imports look for modules, where `readable_paths` has parts.

    An import lists the directory.  It may be permitted where the directory has nothing else, as in
    the mount namespace.
    """
    return [entry for entry in map(Path, sys.path) if _is_narrow(entry) and entry.is_dir()]


def _is_installed(directory: Path) -> bool:
    """Returns whether an installer fills a directory: all of it is modules and what they need."""
    return directory.name in _INSTALLED or any(directory.glob("*.dist-info"))


def _importable(directory: Path) -> Iterator[Path]:
    """Yields the modules and packages in a directory, not its other files, such as ``.git``.

    The directory may be a user's project.  Of our own only our package is yielded.  A namespace
    package (PEP 420) looks like any other directory and is left out.
    """
    if directory == _OURS.parent:
        yield _OURS
    elif directory.is_file():  # a zip file of modules
        yield directory
    elif directory.is_absolute() and directory.is_dir():
        for path in directory.iterdir():
            if path.suffix in _MODULE_SUFFIXES or (path / "__init__.py").is_file():
                yield path


def _editable() -> Iterator[Path]:
    """Yields what setuptools' finders of editable installs map modules to."""
    for finder in sys.meta_path:
        module = sys.modules.get(finder.__module__)
        mapping = vars(module).get("MAPPING", {}) if module is not None else {}
        for path in map(Path, mapping.values()):
            yield path if path.exists() else path.with_suffix(".py")


def _libraries() -> Iterator[Path]:
    """Yields the shared libraries in the directories of LD_LIBRARY_PATH, not their other files."""
    for directory in map(Path, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)):
        if directory.is_absolute():
            yield from (path for path in directory.glob("*.so*") if path.is_file())


def _is_narrow(path: Path) -> bool:
    """Returns whether a path is neither a home nor a parent of one, whatever PYTHONPATH has."""
    homes = (Path.home(), Path("/home"), Path("/root"))
    return path.is_absolute() and not any(home.is_relative_to(path) for home in homes)


def _around(path: Path, mounts: set[Path]) -> Iterator[Path]:
    """Yields the path, or its content without FUSE mounts: ours may be below a user's project."""
    if path in mounts:
        return
    if any(mount.is_relative_to(path) for mount in mounts):
        for child in path.iterdir():
            yield from _around(child, mounts)
    elif path.exists():
        yield path


def _fuse_mounts() -> set[Path]:
    """Returns the mount points of FUSE (proc_pid_mountinfo(5))."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:  # /proc may be hidden in a container
        return set()
    fields = [line.split(" - ") for line in lines]
    return {
        Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), left.split()[4]))
        for left, right in fields
        if right.startswith("fuse")
    }
