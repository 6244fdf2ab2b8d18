"""What an error of XLA's runtime means: its errno, if the worker can go on, who is at fault.

``ROWS`` is the one table, for CPU, CUDA, ROCm and TPU.  XLA reports an absl status as text, for
example ``INTERNAL: Failed to launch CUDA kernel: CUDA error: CUDA_ERROR_ILLEGAL_ADDRESS: ...``: the
code, then words of the layers it has passed.  Only the first line counts, because later lines quote
the program, and only of errors that the runtime itself raised.

A CUDA context that has met one of the errors of ``POISONED`` answers each later call with the same
error: "the process must be terminated and relaunched" (CUDA Driver API, CUresult).  HIP and the
TPU's runtime do likewise.
"""

from __future__ import annotations

import errno
import re
from typing import Literal

import msgspec

from jaxfs.errors import Invalid, JaxfsError, NoSpace, RunFailed

Fault = Literal["run", "machine"]


class ErrorMeaning(msgspec.Struct, frozen=True):
    """One row.

    Attributes:
        name: Of the kind.
        pattern: What the first line has.
        errno: The errno of the runs that fail by it.
        ends_worker: Whether the process cannot use the device any more.
        fault: ``run``: a program that was under way may have caused it; ``machine``: none has.
        words: What happened and the next step, for people; follows XLA's own words.
    """

    name: str
    pattern: re.Pattern[str]
    errno: int
    ends_worker: bool
    fault: Fault
    words: str


def _row(
    name: str, pattern: str, number: int, ends: bool, fault: Fault, words: str
) -> ErrorMeaning:
    return ErrorMeaning(name, re.compile(pattern), number, ends, fault, words)


_STICKY_CUDA = (
    "ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|INVALID_ADDRESS_SPACE|INVALID_PC|"
    "LAUNCH_FAILED|LAUNCH_TIMEOUT|ASSERT|HARDWARE_STACK_ERROR|TENSOR_MEMORY_LEAK|"
    "MPS_CLIENT_TERMINATED"
)
_STICKY_HIP = "IllegalAddress|LaunchFailure|LaunchTimeOut|Assert|IllegalState"
_HARDWARE_CUDA = (
    "ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE|CONTAINED|EXTERNAL_DEVICE|DEVICE_UNAVAILABLE|"
    "DEVICE_NOT_LICENSED|SYSTEM_NOT_READY|SYSTEM_DRIVER_MISMATCH|NO_DEVICE|DEINITIALIZED|"
    "CONTEXT_IS_DESTROYED|MPS_[A-Z_]+|UNKNOWN"
)
_HARDWARE_HIP = "ECCNotCorrectable|NoDevice|ContextIsDestroyed|Deinitialized|Unknown"
_LIBRARIES = "CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS|MIOPEN|ROCBLAS"

POISONED = "poisoned"
ROWS: tuple[ErrorMeaning, ...] = (
    _row(
        POISONED,
        rf"\bCUDA_ERROR_(?:{_STICKY_CUDA})\b|\b(?:HIP_ERROR_|hipError)(?:{_STICKY_HIP})\b|"
        r"\billegal memory access was encountered|\bMemory access fault by GPU|"
        r"\balready in an error state\b",
        errno.EIO,
        True,
        "run",
        "a kernel did what the device does not allow, and the device's context is lost with all "
        "that was in it; the engine is started again",
    ),
    _row(
        "halted",
        r"\b(?:Core halted unexpectedly|Accelerator device halted|TPU .*(?:halted|bad state))",
        errno.EIO,
        True,
        "run",
        "a core of the device has halted; the engine is started again",
    ),
    _row(
        "hardware",
        rf"\bCUDA_ERROR_(?:{_HARDWARE_CUDA})\b|\b(?:HIP_ERROR_|hipError)(?:{_HARDWARE_HIP})\b|"
        r"^DATA_LOSS\b|\bXid\b|\b(?:device|GPU) is lost\b|\bfallen off the bus\b|"
        r"\buncorrectable (?:ECC|NVLink)\b|\bHBM .*uncorrectable\b",
        errno.EIO,
        True,
        "machine",
        "the device or its driver has failed, and no program is at fault; the engine is started "
        "again: look at `dmesg`, and at `nvidia-smi -q`, `rocm-smi` or the TPU's log, and restart "
        "the machine if it happens again",
    ),
    _row(
        "memory",
        r"^RESOURCE_EXHAUSTED\b|\bCUDA_ERROR_OUT_OF_MEMORY\b|"
        r"\b(?:HIP_ERROR_|hipError)OutOfMemory\b|\bOut of memory\b|"
        rf"\b(?:{_LIBRARIES})_STATUS_(?:ALLOC_FAILED|NOT_INITIALIZED)\b|"
        r"\bFailed to (?:create|get) (?:cuBLAS|cuDNN|cuSolver|cuSPARSE|hipBLAS|rocBLAS) handle\b",
        errno.ENOSPC,
        False,
        "run",
        "there is no memory for it; use smaller arrays, or wait until other runs have ended",
    ),
    _row(
        "driver",
        r"\bCUDA_ERROR_(?:NO_BINARY_FOR_GPU|UNSUPPORTED_PTX_VERSION|INVALID_PTX|"
        r"JIT_COMPILER_NOT_FOUND|STUB_LIBRARY)\b|\bhipErrorNoBinaryForGpu\b|"
        r"\bNo PTX compilation provider\b|\bptxas exited with non-zero\b|\blibdevice not found\b",
        errno.EIO,
        False,
        "machine",
        "the driver or the CUDA tools do not fit this jaxlib; see `mountctl doctor`",
    ),
    _row(
        "deadline",
        r"^DEADLINE_EXCEEDED\b",
        errno.ETIMEDOUT,
        False,
        "run",
        "the runtime gave up waiting",
    ),
)
_OTHER = _row("other", "", errno.EIO, False, "run", "")


def meaning_of(text: str) -> ErrorMeaning:
    """Returns the row for an error of XLA's runtime; one with EIO and no words for all others.

    Args:
        text: The message; its first line decides.

    >>> meaning_of("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.").name
    'memory'
    >>> meaning_of("INTERNAL: CUDA error: : CUDA_ERROR_ILLEGAL_ADDRESS: an illegal ...").ends_worker
    True
    >>> meaning_of("INVALID_ARGUMENT: no such thing").errno == errno.EIO
    True
    """
    first = first_line(text)
    return next((row for row in ROWS if row.pattern.search(first)), _OTHER)


def explained(text: str) -> str:
    r"""Returns the first line of an error of the runtime, and in words what it means.

    >>> explained("DEADLINE_EXCEEDED: too long\nmore")
    'DEADLINE_EXCEEDED: too long; the runtime gave up waiting'
    """
    first, words = first_line(text), meaning_of(text).words
    return f"{first.rstrip('.')}; {words}" if words else first


def compile_error(message: str) -> JaxfsError:
    """Returns the error of a program that XLA's compiler does not compile.

    Args:
        message: XLA's, which are the diagnostics.

    >>> compile_error("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    NoSpace('the compiler ran out of memory: Out of memory allocating 9 bytes.')
    >>> compile_error("UNIMPLEMENTED: no such operation")
    Invalid('the compiler refused the program: UNIMPLEMENTED: no such operation')
    """
    first, meaning = first_line(message), meaning_of(message)
    if meaning.errno == errno.ENOSPC:
        words = _CODE.sub("", first)
        return NoSpace(f"the compiler ran out of memory: {words}", message)
    if meaning.fault == "machine":
        return RunFailed(f"the compiler cannot work: {explained(message)}", message)
    return Invalid(f"the compiler refused the program: {first}", message)


_CODE = re.compile(r"^[A-Z_]+: ")  # of an absl status


def first_line(text: str) -> str:
    r"""Returns the first line of a message, cut where it is very long.

    >>> first_line("a\nb"), first_line("")
    ('a', 'no reason given')
    """
    return (text.strip().splitlines() or ["no reason given"])[0][:1000]
