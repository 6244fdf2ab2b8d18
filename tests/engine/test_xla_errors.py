"""What the words of XLA's runtimes mean: CUDA's, ROCm's, the TPU's."""

from __future__ import annotations

import errno

import jax
import pytest

from jaxfs.engine.protocol import Load
from jaxfs.engine.worker.server import error_report, load_report, meaning_of_error
from jaxfs.errors import Invalid, NoSpace, RunFailed
from jaxfs.types.signature import Signature
from jaxfs.types.xla_errors import ROWS, compile_error, explained, meaning_of

ILLEGAL = "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"
SEEN = [  # words from public reports, and the row that they belong to
    (
        f"INTERNAL: Failed to retrieve branch_index value on stream 0x5583: CUDA error: {ILLEGAL}",
        "poisoned",
    ),
    (f"INTERNAL: CUDA error: Could not synchronize CUDA stream: {ILLEGAL}", "poisoned"),
    (
        "INTERNAL: Failed to complete all kernels launched on stream 0x61d9: CUDA error: Could not "
        "synchronize CUDA stream: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure",
        "poisoned",
    ),
    ("INTERNAL: stream did not block host until done; was already in an error state", "poisoned"),
    (
        "INTERNAL: Failed to load in-memory CUBIN: CUDA_ERROR_MISALIGNED_ADDRESS: misaligned",
        "poisoned",
    ),
    ("INTERNAL: HIP error: hipErrorIllegalAddress", "poisoned"),
    ("INTERNAL: Failed to launch ROCm kernel: HIP_ERROR_LaunchFailure", "poisoned"),
    ("INTERNAL: Core halted unexpectedly: No error message available", "halted"),
    (
        "INTERNAL: Accelerator device halted prematurely, perhaps due to a check-failure.",
        "halted",
    ),
    (
        "INTERNAL: CUDA error: : CUDA_ERROR_ECC_UNCORRECTABLE: uncorrectable ECC error encountered",
        "hardware",
    ),
    ("INTERNAL: failed to query device: CUDA_ERROR_DEVICE_UNAVAILABLE: busy", "hardware"),
    ("UNAVAILABLE: the device is lost (Xid 79)", "hardware"),
    ("DATA_LOSS: bad checksum of HBM", "hardware"),
    ("INTERNAL: hipErrorECCNotCorrectable", "hardware"),
    ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1099511627776 bytes.", "memory"),
    (
        "RESOURCE_EXHAUSTED: Attempting to reserve 10.51G at the bottom of memory. That was not "
        "possible. There are 8.97G free",
        "memory",
    ),
    ("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory", "memory"),
    ("INTERNAL: Failed to create cuBLAS handle", "memory"),
    ("INTERNAL: cuDNN: CUDNN_STATUS_ALLOC_FAILED", "memory"),
    ("UNIMPLEMENTED: CUDA_ERROR_UNSUPPORTED_PTX_VERSION: the PTX is too new", "driver"),
    ("INTERNAL: ptxas exited with non-zero error code 65280, output: ", "driver"),
    ("DEADLINE_EXCEEDED: Termination timeout", "deadline"),
    ("INVALID_ARGUMENT: Executable expected parameter 0 of size 4", "other"),
    ("INTERNAL: a kernel of this name\nCUDA_ERROR_ILLEGAL_ADDRESS", "other"),
]


@pytest.mark.parametrize(("words", "name"), SEEN)
def test_words_of_a_runtime_have_one_meaning(words: str, name: str) -> None:
    assert meaning_of(words).name == name


def test_only_what_a_device_does_not_recover_from_ends_the_worker() -> None:
    ending = {row.name for row in ROWS if row.ends_worker}
    assert ending == {"poisoned", "halted", "hardware"}
    assert {row.name for row in ROWS if row.ends_worker and row.fault == "machine"} == {"hardware"}


def test_a_program_cannot_end_the_worker_with_words_of_its_own() -> None:
    for error in (ValueError(ILLEGAL), RuntimeError(ILLEGAL), OSError(ILLEGAL)):
        assert not meaning_of_error(error).ends_worker
    assert meaning_of_error(jax.errors.JaxRuntimeError(f"INTERNAL: {ILLEGAL}")).ends_worker


def test_no_memory_is_enospc_with_a_next_step() -> None:
    words = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."
    number, reason, _ = error_report(jax.errors.JaxRuntimeError(words))
    assert number == errno.ENOSPC
    assert reason.startswith(words[:-1])
    assert "use smaller arrays" in reason
    assert error_report(MemoryError())[0] == errno.ENOSPC


def test_an_artifact_that_the_engine_cannot_compile_is_a_bad_program() -> None:
    load = Load(1, (0,), Signature((), ()), serialized=False)
    refused = jax.errors.JaxRuntimeError("UNIMPLEMENTED: no such operation on this device")
    assert load_report(load, refused)[0] == errno.EINVAL
    full = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
    assert load_report(load, full)[0] == errno.ENOSPC
    assert load_report(load, ValueError("the executable is damaged"))[0] == errno.EIO
    ready_made = Load(1, (0,), Signature((), ()), serialized=True)
    assert load_report(ready_made, refused)[0] == errno.EIO


def test_a_compiler_that_cannot_work_is_no_fault_of_the_program() -> None:
    error = compile_error("INTERNAL: ptxas exited with non-zero error code 2, output: \nmore")
    assert isinstance(error, RunFailed)
    assert "mountctl doctor" in error.reason
    assert isinstance(compile_error("RESOURCE_EXHAUSTED: no"), NoSpace)
    assert isinstance(compile_error("INTERNAL: no reason"), Invalid)


def test_long_words_are_cut() -> None:
    assert len(explained("INTERNAL: " + "x" * 100_000)) == 1000
