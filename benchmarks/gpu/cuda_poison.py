"""Breaks this process's CUDA context on purpose, with the driver alone.

JAX uses the device's primary context, and so does this: after the kernel every call of JAX fails
until the process ends.  Needs neither a compiler nor cupy: the driver compiles PTX.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

# newest first: a driver takes PTX of older architectures, down to a limit of its own
TARGETS = (("7.8", "sm_90"), ("7.0", "sm_80"), ("6.3", "sm_75"), ("6.0", "sm_70"), ("5.0", "sm_50"))
STORE = "mov.u64 %rd, {address};\n  mov.u32 %r, 1;\n  st.global.{kind} [%rd], %r;"
KERNELS = {
    "illegal_address": STORE.format(address=4, kind="u32"),
    "misaligned_address": STORE.format(address=1, kind="u32"),
    "trap": "trap;",
}
PTX = """.version {version}
.target {target}
.address_size 64
.visible .entry poison()
{{
  .reg .b64 %rd;
  .reg .b32 %r;
  {body}
  ret;
}}
"""


class DriverError(Exception):
    """A call of the driver failed; the message has its name and CUDA's error."""


def has_driver() -> bool:
    """Returns whether there is a CUDA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def poison(kind: str = "illegal_address") -> str:
    """Runs a kernel that breaks the primary context, and returns the driver's error for it.

    Raises:
        DriverError: The kernel could not be started.
    """
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: Any) -> None:
        status = getattr(cuda, name)(*arguments)
        if status:
            raise DriverError(f"{name}: {_error_name(cuda, status)}")

    context, function = ctypes.c_void_p(), ctypes.c_void_p()
    device = ctypes.c_int()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    module = _load(call, KERNELS[kind])
    call("cuModuleGetFunction", ctypes.byref(function), module, b"poison")
    one, none = ctypes.c_uint(1), ctypes.c_void_p()
    sizes = (one, one, one, one, one, one, ctypes.c_uint(0))
    call("cuLaunchKernel", function, *sizes, none, none, none)
    try:
        call("cuCtxSynchronize")
    except DriverError as error:
        return str(error)
    return "no error"


def _load(call: Callable[..., None], body: str) -> ctypes.c_void_p:
    module, refused = ctypes.c_void_p(), []
    for version, target in TARGETS:
        text = PTX.format(version=version, target=target, body=body).encode()
        try:
            call("cuModuleLoadData", ctypes.byref(module), ctypes.c_char_p(text))
        except DriverError as error:
            refused.append(f"{target}: {error}")
            continue
        return module
    raise DriverError("; ".join(refused))


def _error_name(cuda: ctypes.CDLL, status: int) -> str:
    name = ctypes.c_char_p()
    cuda.cuGetErrorName(status, ctypes.byref(name))
    return f"{(name.value or b'unknown').decode()} ({status})"
