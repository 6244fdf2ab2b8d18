"""The memory a run needs, by the compiler's figures."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from jaxfs.engine.interface import Executable

SMALL_BYTES = 16 << 20  # runs that need no more always fit


@attrs.frozen
class MemoryNeed:
    """Bytes of one run.  ``temporary`` and ``aliased`` are 0 where the compiler told nothing."""

    inputs: int
    outputs: int
    temporary: int
    aliased: int

    @classmethod
    def of(cls, executable: Executable, told: Mapping[str, int]) -> MemoryNeed:
        inputs = sum(aval.nbytes for aval in executable.signature.input_avals)
        return cls(
            inputs,
            executable.output_bytes,
            told.get("temp_bytes", 0) * len(executable.device_ids),
            told.get("alias_bytes", 0) * len(executable.device_ids),
        )

    @property
    def on_device(self) -> int:
        """All of it stands in the device's memory."""
        return self.inputs + self.outputs + self.temporary - self.aliased

    @property
    def on_host(self) -> int:
        """The inputs are there already and are not copied; the outputs, once made, are."""
        return self.temporary + 2 * self.outputs

    @property
    def is_small(self) -> bool:
        """Whether it is not worth a look at what there is."""
        return max(self.on_device, self.on_host) <= SMALL_BYTES
