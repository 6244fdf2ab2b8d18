"""An engine's worker whose context breaks at SIGUSR1; a check starts it instead of the product's.

On a GPU the context really breaks.  Elsewhere every later run fails with the words of a broken one,
so that the check itself can be tried.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

from benchmarks.gpu.cuda_poison import has_driver, poison
from jaxfs.engine.worker import main as worker

COMMAND = (sys.executable, "-P", "-m", "benchmarks.gpu.poisoned_worker")
SIGNAL = signal.SIGUSR1
WORDS = (
    "INTERNAL: CUDA error: Failed to synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: "
    "an illegal memory access was encountered"
)


def _fail_from_now_on() -> None:
    # not before: jax reads the environment, which the worker sets, when it is imported
    import jax  # noqa: PLC0415

    from jaxfs.engine.worker.executable import LoadedExecutable  # noqa: PLC0415

    def fail(*_: object, **__: object) -> NoReturn:
        raise jax.errors.JaxRuntimeError(WORDS)

    LoadedExecutable.arguments = fail  # type: ignore[method-assign]  # it only fails


def _break_when_asked(on_a_gpu: bool) -> None:
    """Waits for the signal, which any thread may get: those of libraries block none."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(SIGNAL, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.set_blocking(reader, True)
    threading.Thread(target=_wait_and_break, args=(reader, on_a_gpu), daemon=True).start()


def _wait_and_break(reader: int, on_a_gpu: bool) -> None:
    os.read(reader, 1)
    if on_a_gpu:
        print(f"poisoned: {poison()}", file=sys.stderr, flush=True)
    else:
        _fail_from_now_on()


if __name__ == "__main__":
    fd, options = worker.arguments(sys.argv)
    _break_when_asked(options.platform != "cpu" and has_driver())
    worker.main(fd, options)
