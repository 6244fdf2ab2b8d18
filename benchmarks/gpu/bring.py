"""Collects what a GPU machine without a network lacks: ``make gpu-bring``.

``python -m benchmarks.gpu.bring FOLDER 3.12 ...`` writes a folder of wheels for each version of
Python, and FUSE's library.  JAX and NumPy are there already, and are not brought.
``on_machine.sh`` uses the folder.
"""

from __future__ import annotations

import configparser
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import requires, version
from pathlib import Path

import click
from packaging.requirements import Requirement

from benchmarks.gpu.config import MIB
from benchmarks.processes import ROOT

THERE = frozenset({"jax", "jaxlib", "ml-dtypes", "numpy"})  # a machine for JAX has them
BUILT = frozenset({"pyfuse3"})  # without wheels: compiled here, for the machine's Python
TESTS = ("pytest",)
TAGS = ("2_17", "2_28", "2014")  # manylinux, which older pips do not derive from one another
LIMIT_BYTES = 64 * MIB  # of what may be carried to a machine
LIBRARY = "libfuse3.so.3"


def canonical(name: str) -> str:
    """Returns a package's name as PyPI writes it.

    >>> canonical("ml_dtypes")
    'ml-dtypes'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(python: str) -> dict[str, str]:
    """Returns all packages that a mount and the tests need, with the versions installed here."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    left = [*filter(None, (line.partition("#")[0].strip() for line in lines)), *TESTS]
    found: dict[str, str] = {}
    for name in _names(left, python):
        if name not in THERE and name not in found:
            found[name] = version(name)
            left.extend(requires(name) or [])
    return dict(sorted(found.items()))


def _names(requirements: Iterable[str], python: str) -> Iterator[str]:
    """Gives the names of requirements that hold there; the list may grow meanwhile."""
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    for text in requirements:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield canonical(requirement.name)


def download(folder: Path, python: str, packages: Iterable[str]) -> None:
    """Downloads wheels.

    Raises:
        CalledProcessError: There is none for this Python.
    """
    machine = platform.machine()
    tags = [f"--platform=manylinux{tag if tag == '2014' else f'_{tag}'}_{machine}" for tag in TAGS]
    _pip(
        sys.executable,
        *("download", "--no-deps", "--only-binary=:all:", "--implementation=cp"),
        *(f"--python-version={python}", *tags, f"--dest={folder}", *packages),
    )


def build(folder: Path, python: str, packages: Iterable[str]) -> None:
    """Compiles wheels with that Python, if it is here; what needs them is skipped there if not."""
    found = subprocess.run([ROOT / ".ci/pythons"], capture_output=True, text=True, check=False)
    pythons = dict(row.split(" ", 1) for row in found.stdout.splitlines())
    if python not in pythons:
        print(f"Python {python} is not here: {' '.join(packages)} cannot be built for it")
        return
    _pip(pythons[python], "wheel", "--no-deps", f"--wheel-dir={folder}", *packages)


def _pip(python: str, *arguments: str) -> None:
    command = [python, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def copy_library(folder: Path) -> None:
    """Copies FUSE's library, which a machine for JAX may lack."""
    pattern = rf"{re.escape(LIBRARY)} .*=> (\S+)"
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin:/usr/bin:/bin") or "ldconfig"
    known = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=False).stdout
    found = re.search(pattern, known)
    if found is None:
        print(f"{LIBRARY} is not here: nothing can be mounted where it is not either")
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(found[1], folder / LIBRARY)


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("pythons", nargs=-1, required=True)
def main(folder: Path, pythons: tuple[str, ...]) -> None:
    """Writes FOLDER, for each of the versions PYTHONS, such as 3.12."""
    shutil.rmtree(folder, ignore_errors=True)
    for python in pythons:
        place = folder / f"cp{python.replace('.', '')}"
        place.mkdir(parents=True)
        pins = {name: f"{name}=={found}" for name, found in wanted(python).items()}
        download(place, python, [pin for name, pin in pins.items() if name not in BUILT])
        build(place, python, [pin for name, pin in pins.items() if name in BUILT])
    copy_library(folder / "lib")
    nbytes = sum(path.stat().st_size for path in folder.rglob("*"))
    print(f"{folder}: {nbytes / MIB:.1f} MiB, for Python {' '.join(pythons)}")
    if nbytes > LIMIT_BYTES:
        sys.exit(f"this is more than {LIMIT_BYTES // MIB} MiB: name fewer versions of Python")


if __name__ == "__main__":
    main()
