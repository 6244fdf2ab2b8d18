"""What is known of devices before the first run: memory, by XLA or by the driver."""

from __future__ import annotations

import ctypes
from typing import Any

import attrs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxfs.engine.protocol import EngineOptions
from jaxfs.engine.worker import devices, driver_memory
from jaxfs.engine.worker.executable import _Output
from jaxfs.types.avals import Aval

TOTAL_BYTES = 80 << 30


@attrs.define(eq=False)
class Client:
    platform_version: str = "PJRT C API\ncuda 12080"


@attrs.define(eq=False)
class Card:
    """A device as JAX has it."""

    stats: Any = None
    platform: str = "gpu"
    local_hardware_id: int = 2
    client: Client = attrs.field(factory=Client)

    def memory_stats(self) -> Any:
        if isinstance(self.stats, Exception):
            raise self.stats
        return self.stats


class Driver:
    """libcuda.so.1, as far as it is used."""

    def __init__(self, name: str) -> None:
        if name != "libcuda.so.1":
            raise OSError(name)
        self.ordinals: list[int] = []

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return flags

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:  # noqa: N802
        device._obj.value = ordinal
        return 0

    def cuDeviceTotalMem_v2(self, total: Any, device: Any) -> int:  # noqa: N802
        total._obj.value = TOTAL_BYTES if device.value == 2 else 0
        return 0


def limit(card: Card) -> int:
    device: Any = card
    return devices.bytes_limit(device)


def test_the_limit_is_that_of_xla_where_it_has_one() -> None:
    assert limit(Card({"bytes_limit": 1000})) == 1000
    assert limit(Card({"bytes_limit": 1000}, platform="cpu")) == 0


@pytest.mark.parametrize("stats", [None, {}, jax.errors.JaxRuntimeError("UNIMPLEMENTED: no")])
def test_without_a_limit_the_driver_is_asked(stats: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Driver)
    for name in driver_memory.FRACTION_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert limit(Card(stats)) == TOTAL_BYTES * 3 // 4
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", ".5")
    assert limit(Card(stats)) == TOTAL_BYTES // 2


def test_no_driver_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", Driver)
    assert limit(Card(client=Client("PJRT C API\nrocm 60443"))) == 0
    assert limit(Card(client=Client("TFRT TPU v5 lite"))) == 0
    options = EngineOptions(platform="cuda")
    cards: list[Any] = [Card(client=Client("TFRT TPU v5 lite"))]
    assert devices.make_cache(options, cards) is None


def test_a_lost_device_is_no_device_without_figures() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError):
        limit(Card(jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_ECC_UNCORRECTABLE: no")))


def test_free_memory_is_known_only_with_both_figures() -> None:
    known: Any = Card({"bytes_limit": 1000, "bytes_in_use": 300})
    unknown: Any = Card({"bytes_in_use": 300})
    assert devices.free_bytes(known) == 700
    assert devices.free_bytes(unknown) is None


@pytest.mark.parametrize("dtype", ["i4", "u4", "i2", "u2", "f4_e2m1fn"])
def test_reading_an_output_leaves_no_copy_with_the_array(dtype: str) -> None:
    aval = Aval(dtype, (8,))
    array: Any = jnp.ones(8, aval.row.numpy)
    output = _Output(aval)
    output.check(0, array)
    assert output.as_numpy(array).tolist() == np.ones(8, aval.row.numpy).tolist()
    assert array._npy_value is None
