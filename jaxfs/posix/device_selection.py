"""The devices that the options of a mount select, and the environment that hides all others.

The vendors' drivers take the devices that a process may use from environment variables, before
their first use: a hidden device costs the process nothing, where JAX would make a context of half a
gigabyte on each.

>>> with_options({"CUDA_VISIBLE_DEVICES": "4,5,6"}, Selection("cuda", devices=2))[
...     "CUDA_VISIBLE_DEVICES"
... ]
'4,5'
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Protocol

import msgspec

from jaxfs.errors import Invalid
from jaxfs.posix.accelerators import (
    CUDA,
    NAMES,
    TABLE,
    TPU,
    Accelerator,
    candidates,
    install_command,
    jax_platform,
    plugin_names,
)

PER_USER_FRACTION = 0.25  # three users' engines fit on a GPU, beside the memory of its driver
_FRACTION, _OLD_FRACTION = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
# libtpu serves a part of a machine's chips if it is a box of them; by how many they are
_TPU_BOXES = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


class DeviceOptions(Protocol):
    """The mount options that choose devices; those not given are None."""

    @property
    def platform(self) -> str | None:
        """``cpu``, ``gpu``, ``cuda`` ..."""

    @property
    def devices(self) -> int | None:
        """The first so many."""

    @property
    def visible_devices(self) -> str | None:
        """Numbers or names."""

    @property
    def memory_fraction(self) -> float | None:
        """Of a GPU's memory."""

    @property
    def preallocate(self) -> bool:
        """Whether that much is taken at the start."""

    @property
    def engine(self) -> str:
        """``shared`` or ``per-user``."""


class Selection(msgspec.Struct, frozen=True):
    """The devices that the options of a mount ask for.

    Attributes:
        platform: As in the options; empty for JAX's choice.
        devices: The first so many; 0 for all.
        visible: The numbers or names of devices, with commas between; empty for all.
        memory_fraction: Of a GPU's memory; 0 for the default.
        preallocate: Whether that much is taken at the start.
        is_per_user: Whether each user has a process of its own on the devices.
    """

    platform: str = ""
    devices: int = 0
    visible: str = ""
    memory_fraction: float = 0.0
    preallocate: bool = False
    is_per_user: bool = False

    @classmethod
    def of(cls, options: DeviceOptions) -> Selection:
        """Returns the selection of a mount with these options."""
        return cls(
            options.platform or "",
            options.devices or 0,
            options.visible_devices or "",
            options.memory_fraction or 0.0,
            options.preallocate,
            is_per_user=options.engine == "per-user",
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers or names of devices."""
        return tuple(self.visible.split(",")) if self.visible else ()


def check(selection: Selection) -> None:
    """Checks what can be decided without a start of JAX.

    Raises:
        Invalid: The platform does not exist or is not installed, it cannot serve users apart, or
            it has no such devices.
    """
    platform = selection.platform
    if platform and platform != "cpu":
        _check_platform(platform)
    rows = candidates(platform)
    if selection.is_per_user and platform and any(row.is_exclusive for row in rows):
        raise exclusive(platform)
    if not selection.visible:
        return
    if not rows:
        raise Invalid(
            f"option visible_devices picks GPUs or TPUs, and the platform is {platform or 'cpu'}: "
            "CPU devices are virtual, devices=N makes N of them; for GPUs install a plugin, "
            f"{install_command(CUDA)}"
        )
    _check_visible(selection, rows[0])


def exclusive(platform: str) -> Invalid:
    """Returns the error for engines by user where one process holds all devices."""
    return Invalid(
        f"-o engine=per-user needs devices that several processes can use, and libtpu lets one "
        f"process hold the machine's {platform.upper()}s: mount with engine=shared"
    )


def _check_platform(platform: str) -> None:
    """Raises Invalid for an unknown platform, and for one without a plugin."""
    names = plugin_names()
    row = TABLE.get(jax_platform(platform))
    if row is None:
        known = [row.plugin for row in TABLE.values()]
        others = [name for name in names if not any(part in name for part in known)]
        if not others:  # JAX knows by which names a plugin of another vendor goes
            raise Invalid(
                f"there is no platform {platform!r}: one of {' '.join(NAMES)}, or that of an "
                "installed plugin of JAX; without the option JAX chooses"
            )
    elif not any(row.plugin in name for name in names):
        raise Invalid(
            f"platform={platform} needs JAX's plugin for {row.device}s, and none is installed "
            f"for {sys.executable}: {install_command(row)}, or mount with platform=cpu"
        )


def _check_visible(selection: Selection, row: Accelerator) -> None:
    """Raises Invalid if no such devices exist, as far as that is known."""
    names, count = selection.names, row.count()
    if len(set(names)) < len(names):
        raise Invalid(f"option visible_devices has a device twice: {selection.visible}")
    if selection.devices > len(names):
        raise Invalid(
            f"devices={selection.devices} is more than the {len(names)} of visible_devices"
        )
    numbers = [name for name in names if name.isdigit()]
    if numbers and len(numbers) < len(names):
        raise Invalid("option visible_devices takes numbers or names, not both at once")
    for name in names:
        if not name.isdigit() and not re.fullmatch(row.name, name, re.ASCII):
            raise Invalid(f"visible_devices={name} is no name of an {row.device}")
        if name.isdigit() and 0 < count <= int(name):
            raise Invalid(
                f"visible_devices={name}: this machine has {count} {row.device}"
                f"{'s' if count > 1 else ''}, numbered from 0 to {count - 1}"
            )
    if row is TPU and len(names) not in _TPU_BOXES:
        raise Invalid("visible_devices takes 1, 2, 4 or 8 chips of a TPU machine")


def with_options(inherited: Mapping[str, str], selection: Selection) -> dict[str, str]:
    """Returns the environment of a process that uses the devices of a selection.

    Args:
        inherited: The environment it would have otherwise; what the options do not set stays.
        selection: From the options.
    """
    found = dict(inherited)
    if selection.platform:
        found["JAX_PLATFORMS"] = jax_platform(selection.platform)
    for row in candidates(selection.platform):
        _pick(found, row, selection)
    _set_memory(found, selection)
    return found


def _pick(environment: dict[str, str], row: Accelerator, selection: Selection) -> None:
    """Sets the variables that hide all other devices of a platform."""
    if selection.visible:
        chosen = selection.names[: selection.devices or None]
        for variable in (*row.variables, row.jax_variable):  # each picks among what is left
            environment.pop(variable, None)
        if row is CUDA:
            environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbers of nvidia-smi
        variable = row.variables[0]
    elif selection.devices:
        variables = (row.jax_variable, *row.variables)
        variable = next((name for name in variables if name in environment), row.variables[0])
        chosen = _first(environment.get(variable), selection.devices, row)
    else:
        return
    if not chosen:
        return
    environment[variable] = ",".join(chosen)
    if row is TPU:
        environment["TPU_CHIPS_PER_PROCESS_BOUNDS"] = _TPU_BOXES[len(chosen)]
        environment["TPU_PROCESS_BOUNDS"] = "1,1,1"


def _first(inherited: str | None, count: int, row: Accelerator) -> tuple[str, ...]:
    """Returns the first devices of those that the environment shows; none for no change.

    A TPU chip may be two devices of JAX, so that the chips taken are enough for ``count``.
    """
    if inherited is not None:
        shown = tuple(inherited.split(","))
        return shown[:count] if len(shown) > count and row is not TPU else ()
    if row is TPU:
        count = next((box for box in _TPU_BOXES if count <= box < row.count()), 0)
    return tuple(map(str, range(count)))


def _set_memory(environment: dict[str, str], selection: Selection) -> None:
    """Sets how much of a GPU's memory XLA takes, and when.

    jaxlib 0.10 to 0.12 read XLA_CLIENT_MEM_FRACTION and its old name, and refuse to start with
    both.
    """
    if selection.preallocate:
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "true"
    environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    fraction = selection.memory_fraction
    is_set = any(environment.get(name) for name in (_FRACTION, _OLD_FRACTION))
    if selection.is_per_user and not is_set and candidates(selection.platform):
        fraction = fraction or PER_USER_FRACTION
    if fraction:
        environment.pop(_OLD_FRACTION, None)
        environment[_FRACTION] = f"{fraction:g}"
