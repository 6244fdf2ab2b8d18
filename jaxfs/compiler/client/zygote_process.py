"""One zygote: starts it, receives its messages and ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import msgspec
import trio

import jaxfs
from jaxfs.compiler.job_protocol import Control, Ended, Hello
from jaxfs.compiler.sandbox import Limits
from jaxfs.errors import RunFailed
from jaxfs.ipc.channel import VERSION, AsyncChannel, Closed, pair
from jaxfs.posix.child_process import ChildProcess

START_S = 60.0  # a cold disk and a busy machine need many seconds to import jax
END_S = 2.0
# The part of the front's environment that a zygote needs; other variables could change results.
_KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH", "XLA_FLAGS"),
    "CUDA_ROOT",  # where JAX's CUDA is, if it is not NVIDIA's packages
)
_SET = {
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",  # compiling takes no GPU memory
    "JAX_ENABLE_X64": "1",
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "PYTHONUNBUFFERED": "1",
}


@attrs.define(eq=False)
class ZygoteProcess:
    """A zygote that has sent `Hello`.

    Attributes:
        process: the process.
        channel: its control socket; closing it ends the zygote.
        toolchain: as in `Hello`.
        layers: as in `Hello`.
        is_alive: False once its end is known.
    """

    process: ChildProcess
    channel: AsyncChannel[Control]
    toolchain: str = ""
    layers: tuple[str, ...] = ()
    is_alive: bool = True

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    @classmethod
    async def start(cls, limits: Limits) -> ZygoteProcess:
        """Starts a zygote and waits until it is ready; jobs get ``limits``.

        Raises:
            RunFailed: It does not start, with the reason.
        """
        ours, theirs = pair()
        channel: AsyncChannel[Control] = AsyncChannel(ours, Control)
        with theirs:
            arguments = [str(theirs.fileno()), msgspec.json.encode(limits).decode()]
            process = ChildProcess(
                [sys.executable, "-P", "-m", "jaxfs.compiler.zygote.main", *arguments],
                _environment(),
                pass_fds=[theirs.fileno()],
            )
        zygote = cls(process, channel)
        try:
            hello = await _hello(process, channel)
        except BaseException:
            await zygote.close()
            raise
        zygote.toolchain, zygote.layers = hello.toolchain, hello.layers
        return zygote

    async def endings(self) -> AsyncIterator[Ended]:
        """Yields the ends of jobs as they come, until the zygote's own end."""
        try:
            while True:
                message, fds = await self.channel.receive()
                for fd in fds:
                    os.close(fd)
                if isinstance(message, Ended):
                    yield message
        except (Closed, msgspec.MsgspecError, trio.ClosedResourceError):
            return
        finally:
            self.is_alive = False

    async def close(self) -> None:
        """Ends the zygote and with it its children; kills it if that takes too long."""
        self.is_alive = False
        self.channel.close()
        await self.process.end(grace_s=END_S)


async def _hello(process: ChildProcess, channel: AsyncChannel[Control]) -> Hello:
    try:
        message, _ = await process.first_message(channel.receive, START_S)
    except Closed:
        raise RunFailed(
            f"the tracer did not start; run '{sys.executable} -c \"import jax\"' to see why"
        ) from None
    except (trio.TooSlowError, msgspec.MsgspecError) as error:
        raise RunFailed(
            f"the tracer did not start: {str(error) or f'no message in {START_S:g} s'}"
        ) from None
    if not isinstance(message, Hello) or message.version != VERSION:
        raise RunFailed("the tracer is of another version than the front; install jaxfs again")
    return message


def _environment() -> dict[str, str]:
    """Returns the zygote's environment: a few variables of ours, and those that jobs need.

    All others stay out, because they could change results.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    home = str(Path(jaxfs.__file__).parent.parent)  # not every mount runs an installed jaxfs
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [home, kept.get("PYTHONPATH")]))
    return {**kept, **_SET}
