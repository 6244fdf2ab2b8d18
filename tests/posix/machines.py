"""Machines with accelerators, made of files: what the driver and the packages would show."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path

import pytest

from jaxfs.posix import accelerators

JAXLIB = "0.10.2"


class FakeMachine:
    """Replaces /dev, /sys and /proc/driver/nvidia, and the installed packages.

    Attributes:
        dev: In place of /dev.
        packages: Versions by name.
        plugins: Names of JAX's plugins.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.dev, self.sys, self.nvidia = root / "dev", root / "sys", root / "nvidia"
        self.packages = {"jaxlib": JAXLIB}
        self.plugins: list[str] = []
        self.dev.mkdir()
        self.sys.mkdir()
        monkeypatch.setattr(accelerators, "DEV", self.dev)
        monkeypatch.setattr(accelerators, "SYS", self.sys)
        monkeypatch.setattr(accelerators, "NVIDIA", self.nvidia)
        monkeypatch.setattr(importlib.metadata, "version", self._version)
        monkeypatch.setattr(importlib.metadata, "entry_points", self._entry_points)
        accelerators.packaged_plugins.cache_clear()
        for row in accelerators.TABLE.values():
            for name in row.variables:
                monkeypatch.delenv(name, raising=False)

    def _version(self, name: str) -> str:
        if name not in self.packages:
            raise PackageNotFoundError(name)
        return self.packages[name]

    def _entry_points(self, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, "module:initialize", group) for name in self.plugins]

    def install(self, package: str, version: str = JAXLIB, plugin: str = "") -> None:
        """Installs a package, and a plugin of JAX with it."""
        self.packages[package] = version
        if plugin:
            self.plugins.append(plugin)
            accelerators.packaged_plugins.cache_clear()

    def add_nodes(self, *names: str) -> None:
        """Makes device files."""
        for name in names:
            (self.dev / name).parent.mkdir(exist_ok=True)
            (self.dev / name).touch()
            (self.dev / name).chmod(0o666)

    def load_driver(self, version: str = "580.65.06") -> None:
        """Loads the NVIDIA driver."""
        self.nvidia.mkdir()
        (self.nvidia / "version").write_text(
            f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {version}  Release Build\n"
        )

    def make_sound(self, gpus: int = 4) -> None:
        """Makes it a machine with NVIDIA GPUs that JAX can use."""
        self.install("jax-cuda13-plugin", plugin="xla_cuda13")
        self.load_driver()
        self.add_nodes("nvidiactl", "nvidia-uvm", *(f"nvidia{i}" for i in range(gpus)))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMachine]:
    """A machine without accelerators, and without plugins."""
    yield FakeMachine(tmp_path, monkeypatch)
    accelerators.packaged_plugins.cache_clear()
