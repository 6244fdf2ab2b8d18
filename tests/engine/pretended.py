"""A worker on a CPU that passes it off as a GPU, with faults that a test asks for.

Run as ``python pretended.py <descriptor> <options as JSON>``.  A run with the input ``POISON``
makes the context unusable, and one with ``BROKEN`` meets a fault of the machine: each later run in
this process fails likewise, as on a GPU.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import msgspec

from jaxfs.engine import protocol
from jaxfs.engine.worker import device_server, devices
from jaxfs.engine.worker import main as worker_main

POISON, BROKEN = 13.0, 17.0
LIMIT_BYTES = 1 << 30
WORDS = {
    POISON: "INTERNAL: Failed to retrieve branch_index value on stream 0x1: CUDA error: Could not "
    "synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered",
    BROKEN: "INTERNAL: CUDA error: : CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error "
    "encountered",
}


def main(fd: int, options: str) -> None:
    """The worker, with devices that are called GPUs."""
    describe, start = devices.describe, device_server.DeviceServer._start
    met: list[str] = []

    def described(device: jax.Device) -> protocol.Device:
        found = describe(device)
        return msgspec.structs.replace(found, platform="cuda", bytes_limit=LIMIT_BYTES)

    def started(self: device_server.DeviceServer, loaded: Any, message: protocol.Execute) -> Any:
        first = loaded.arguments(message, self._mappings)[0]
        met.extend(words for number, words in WORDS.items() if first.flat[0] == number)
        if met:
            raise jax.errors.JaxRuntimeError(met[0])
        return start(self, loaded, message)

    patches: list[tuple[Any, str, Any]] = [
        (devices, "describe", described),
        (devices, "has_own_memory", lambda device: True),
        (device_server.DeviceServer, "_start", started),
    ]
    for owner, name, value in patches:
        setattr(owner, name, value)
    worker_main.main(fd, msgspec.json.decode(options, type=protocol.EngineOptions))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
