"""Where exceptions end: every handler answers, whatever happened inside.

pyfuse3 ends the whole daemon at any exception other than FUSEError.  So each handler runs inside
``answering``: errors of jaxfs become their errno and a line in error_log, everything else becomes
EIO, is logged with its traceback and counted.  ``forget``, which nobody hears the answer of, runs
inside ``unanswered``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pyfuse3

from jaxfs.errors import (
    Interrupted,
    JaxfsError,
    NotFound,
    NotReady,
    RunFailed,
    Unmounted,
    from_os_error,
)
from jaxfs.fuse import INTERRUPTS
from jaxfs.posix.credentials import Credentials

if TYPE_CHECKING:
    from jaxfs.fuse.operations import Filesystem

log = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])
Where = Callable[["Filesystem", tuple[Any, ...]], tuple[Credentials, str]]
# Everyday answers, not worth a line in error_log.
QUIET = (NotFound, NotReady, Interrupted, Unmounted)


def credentials_of(ctx: pyfuse3.RequestContext) -> Credentials:
    """The process behind a request, in our own terms."""
    return Credentials(ctx.uid, ctx.gid, ctx.pid, ctx.umask)


def at_inode(fs: Filesystem, args: tuple[Any, ...]) -> tuple[Credentials, str]:
    """For handlers (inode, ..., ctx)."""
    return credentials_of(args[-1]), fs.vfs.path(args[0])


def at_name(fs: Filesystem, args: tuple[Any, ...]) -> tuple[Credentials, str]:
    """For handlers (parent inode, name, ..., ctx)."""
    name = args[1].decode(errors="replace")
    return credentials_of(args[-1]), f"{fs.vfs.path(args[0])}/{name}"


def at_handle(fs: Filesystem, args: tuple[Any, ...]) -> tuple[Credentials, str]:
    """For handlers (file handle, ...), which pyfuse3 gives no context."""
    handle = fs.vfs.open_file(args[0])
    return handle.caller, handle.path


def at_listing(fs: Filesystem, args: tuple[Any, ...]) -> tuple[Credentials, str]:
    """For handlers (directory handle, ...)."""
    listing = fs.listings[args[0]]
    return listing.caller, fs.vfs.path(listing.inode)


def at_root(fs: Filesystem, args: tuple[Any, ...]) -> tuple[Credentials, str]:
    """For handlers (ctx), which are about the whole mount."""
    return credentials_of(args[-1]), ""


def waiting(handler: Handler) -> Handler:
    """Let a signal to the calling process end a handler that waits; goes below ``answering``."""

    @functools.wraps(handler)
    async def wait(fs: Filesystem, *args: Any) -> Any:
        system = fs.vfs.mount
        system.waiters += 1
        try:
            with INTERRUPTS.interruptible(INTERRUPTS.current()):
                return await handler(fs, *args)
        finally:
            system.waiters -= 1

    return cast("Handler", wait)


def unanswered(handler: Handler) -> Handler:
    """For requests the kernel wants no answer to: what goes wrong is logged and counted."""

    @functools.wraps(handler)
    async def do(fs: Filesystem, *args: Any) -> None:
        try:
            await handler(fs, *args)
        except Exception:
            _count(fs, handler.__name__)

    return cast("Handler", do)


def answering(where: Where) -> Callable[[Handler], Handler]:
    """Make a handler answer whatever it raises; ``where`` tells whose error it was, and on what."""

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def answer(fs: Filesystem, *args: Any) -> Any:
            try:
                return await handler(fs, *args)
            except JaxfsError as error:
                _note(fs, where, args, error)
                raise pyfuse3.FUSEError(error.errno) from None
            except OSError as error:
                told = from_os_error(error, f"in {handler.__name__}")
                _note(fs, where, args, told)
                raise pyfuse3.FUSEError(told.errno) from error
            except pyfuse3.FUSEError:
                raise
            except Exception as error:
                _count(fs, handler.__name__)
                _note(fs, where, args, RunFailed(f"internal error: {error!r}"))
                raise pyfuse3.FUSEError(RunFailed.errno) from error

        return cast("Handler", answer)

    return wrap


def _count(fs: Filesystem, doing: str) -> None:
    """To be called while the exception is handled."""
    log.exception("internal error in %s", doing)
    fs.vfs.mount.internal_errors += 1


def _note(fs: Filesystem, where: Where, args: tuple[Any, ...], error: JaxfsError) -> None:
    if isinstance(error, QUIET) or error.is_logged:
        return
    try:
        caller, path = where(fs, args)
        fs.vfs.mount.note(caller, path, error)
    except Exception:
        log.exception("an error could not be noted: %s", error)
