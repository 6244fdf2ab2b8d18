"""What staging files of ``arrays/`` and ``calls/`` have in common."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from jaxfs.arrays.staged_upload import StagedUpload
from jaxfs.errors import from_exception
from jaxfs.ipc.spool import Spool
from jaxfs.posix.credentials import Credentials
from jaxfs.vfs.mount import Mount
from jaxfs.vfs.node_specs import FileSpec
from jaxfs.vfs.open_files.base import OpenFile
from jaxfs.vfs.open_files.upload import UploadFile

RENAME_WAIT_S = 0.2  # the kernel locks the directory for all users during a rename


async def _open(mount: Mount, staged: StagedUpload, caller: Credentials, flags: int) -> OpenFile:
    commit = staged.keep
    if staged.spool is not None and not flags & os.O_TRUNC:
        return UploadFile(staged.spool.share(), commit, flags, plain=True)
    return UploadFile(mount.calls.admission.spool(caller.uid), commit, flags, plain=True)


def staging_spec(directory: str, help_text: str) -> FileSpec[StagedUpload]:
    """Returns the spec of the staging files of a directory."""
    return FileSpec(
        f"{directory}/.<name>",
        0o666,
        "binary or text",
        help_text,
        open=_open,
        size=lambda mount, staged: staged.nbytes,
        settles=True,
        is_primary=True,
    )


async def commit_staged(
    mount: Mount,
    staged: StagedUpload,
    target: object,
    path: str,
    commit: Callable[[Spool, Credentials], Awaitable[None]],
) -> None:
    """Commits a staging file that gets a proper name.

    Args:
        mount: The mount.
        staged: The file; it is removed unless the commit fails soon.
        target: What the commit changes.
        path: The new path, for error_log.
        commit: Gets the bytes, and the file's owner, with whose rights references are looked up.

    Raises:
        JaxfsError: What the commit raised; the file stays.  One that takes long goes on: the
            target's error and error_log have its failure.
    """
    owner = Credentials(staged.attr.uid, staged.attr.gid)
    spool = staged.spool.share() if staged.spool is not None else mount.calls.admission.spool(0)

    async def work() -> None:
        try:
            await commit(spool, owner)
            staged.recommit = lambda later: commit(later, owner)
            staged.remove()
        finally:
            spool.close()

    begun = mount.calls.commits.begin(
        target, work, lambda error: mount.note(owner, path, from_exception(error, "committing"))
    )
    with trio.move_on_after(RENAME_WAIT_S):
        await begun.wait()
    staged.recommit = lambda later: commit(later, owner)
    staged.remove()
