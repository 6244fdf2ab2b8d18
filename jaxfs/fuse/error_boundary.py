"""Where exceptions end: every handler answers, whatever happened inside.

pyfuse3 ends the whole daemon at any exception other than FUSEError.  So each handler runs inside
``answering``: errors of jaxfs become their errno and a line in error_log; everything else becomes
EIO, is logged with its traceback and counted.  ``forget``, which has no answer, runs inside
``unanswered``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar, cast

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
from jaxfs.vfs.vfs import Vfs

log = logging.getLogger(__name__)
# Everyday answers, not worth a line in error_log.
QUIET = (NotFound, NotReady, Interrupted, Unmounted)


class OpenDirectory(Protocol):
    """What an error in an open directory is reported with."""

    @property
    def inode(self) -> int:
        """The directory."""

    @property
    def caller(self) -> Credentials:
        """The process that opened it."""


class HandlesRequests(Protocol):
    """What the decorators need of the class that has the handlers."""

    @property
    def vfs(self) -> Vfs:
        """Knows the paths of inodes, the open files, and the counters of the mount."""

    @property
    def listings(self) -> Mapping[int, OpenDirectory]:
        """The open directories by handle."""


HandlerArguments = tuple[Any, ...]  # of pyfuse3's handlers, without self; they differ
Handler = TypeVar("Handler", bound=Callable[..., Coroutine[Any, Any, Any]])
# From the handler's arguments: the process that gets the error, and the path it concerns.
Locate = Callable[[HandlesRequests, HandlerArguments], tuple[Credentials, str]]


def credentials_of(ctx: pyfuse3.RequestContext) -> Credentials:
    """Returns the credentials of the process behind a request."""
    return Credentials(ctx.uid, ctx.gid, ctx.pid, ctx.umask)


def at_inode(fs: HandlesRequests, args: HandlerArguments) -> tuple[Credentials, str]:
    """For handlers (inode, ..., ctx)."""
    return credentials_of(args[-1]), fs.vfs.path(args[0])


def at_name(fs: HandlesRequests, args: HandlerArguments) -> tuple[Credentials, str]:
    """For handlers (parent inode, name, ..., ctx).

    Returns:
        The caller's credentials, and the path of the name, whether it exists or not.
    """
    name = args[1].decode(errors="replace")
    return credentials_of(args[-1]), f"{fs.vfs.path(args[0])}/{name}"


def at_handle(fs: HandlesRequests, args: HandlerArguments) -> tuple[Credentials, str]:
    """For handlers (file handle, ...), which pyfuse3 gives no context.

    Returns:
        The credentials of the process that opened the file, and the file's path.
    """
    handle = fs.vfs.open_file(args[0])
    return handle.caller, handle.path


def at_listing(fs: HandlesRequests, args: HandlerArguments) -> tuple[Credentials, str]:
    """For handlers (directory handle, ...).

    Returns:
        The credentials of the process that opened the directory, and the directory's path.
    """
    listing = fs.listings[args[0]]
    return listing.caller, fs.vfs.path(listing.inode)


def at_root(_fs: HandlesRequests, args: HandlerArguments) -> tuple[Credentials, str]:
    """For handlers (ctx), which are about the whole mount."""
    return credentials_of(args[-1]), ""


def waiting(handler: Handler) -> Handler:
    """Lets a signal to the calling process end a handler that waits; put it below ``answering``."""

    @functools.wraps(handler)
    async def wait(fs: HandlesRequests, *args: Any) -> Any:
        mount = fs.vfs.mount
        mount.waiters += 1
        try:
            with INTERRUPTS.interruptible(INTERRUPTS.current()):
                return await handler(fs, *args)
        finally:
            mount.waiters -= 1

    return cast("Handler", wait)


def unanswered(handler: Handler) -> Handler:
    """Logs and counts what goes wrong in a handler of requests that have no answer."""

    @functools.wraps(handler)
    async def handle(fs: HandlesRequests, *args: Any) -> None:
        try:
            await handler(fs, *args)
        except Exception:
            _count_internal_error(fs, handler.__name__)

    return cast("Handler", handle)


def answering(locate: Locate) -> Callable[[Handler], Handler]:
    """Makes a handler answer whatever it raises.

    Args:
        locate: Finds out for error_log which process gets the error, and for which path.
    """

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def answer(fs: HandlesRequests, *args: Any) -> Any:
            try:
                return await handler(fs, *args)
            except JaxfsError as error:
                _note(fs, locate, args, error)
                raise pyfuse3.FUSEError(error.errno) from None
            except OSError as error:
                translated = from_os_error(error, f"in {handler.__name__}")
                _note(fs, locate, args, translated)
                raise pyfuse3.FUSEError(translated.errno) from error
            except pyfuse3.FUSEError:
                raise
            except Exception as error:
                _count_internal_error(fs, handler.__name__)
                _note(fs, locate, args, RunFailed(f"internal error: {error!r}"))
                raise pyfuse3.FUSEError(RunFailed.errno) from error

        return cast("Handler", answer)

    return wrap


def _count_internal_error(fs: HandlesRequests, handler: str) -> None:
    """Logs the exception that is being handled, and counts it."""
    log.exception("internal error in %s", handler)
    fs.vfs.mount.internal_errors += 1


def _note(fs: HandlesRequests, locate: Locate, args: HandlerArguments, error: JaxfsError) -> None:
    """Adds a line to error_log, unless the error is an everyday one or has its line already."""
    if isinstance(error, QUIET) or error.is_logged:
        return
    try:
        caller, path = locate(fs, args)
        fs.vfs.mount.note(caller, path, error)
    except Exception:
        log.exception("an error could not be noted: %s", error)
