"""The file `call` of a program: a conversation."""

from __future__ import annotations

import os

import trio

from jaxfs.calls.conversation import Conversation
from jaxfs.programs.commits import Work
from jaxfs.vfs.open_files.base import OpenFile


class ConversationFile(OpenFile):
    """An open `call`: inputs are written to it, outputs are read from it."""

    def __init__(self, conversation: Conversation, flags: int) -> None:
        self._conversation = conversation
        self._wait = not flags & os.O_NONBLOCK
        self._reads = flags & os.O_ACCMODE != os.O_WRONLY
        self.is_plain = self._reads  # closing ends a request where it cannot be read
        self._commits = 0  # under way
        self._is_released = False

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Returns the next bytes of the outputs, wherever `offset` is.

        Raises:
            NotReady: No reply is there, and the file was opened with O_NONBLOCK.
            JaxfsError: As `Conversation.read`.
        """
        return await self._conversation.read(size, wait=self._wait)

    async def write(self, offset: int, data: bytes) -> int:
        """Takes the next bytes of the inputs, wherever `offset` is.

        Raises:
            JaxfsError: As `Conversation.write`; the request is dropped.
        """
        if not self._reads:
            self.commit, self.is_half_written = None, False
        return await self._conversation.write(data)

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Returns outputs that are there, or None."""
        return self._conversation.read_now(size)

    def write_now(self, offset: int, data: bytes) -> bool:
        """Takes a small call's inputs, or returns False."""
        return self._conversation.write_now(data)

    def pending_size(self) -> int:
        """Returns 0: a stream has no size, and copy_file_range(2) would copy no more than that."""
        return 0

    async def truncate(self, size: int) -> None:
        """Does nothing: the shell's `> call` truncates, and there is no content to cut."""

    def is_dirty(self) -> bool:
        """Whether closing ends a request: that of a descriptor that cannot read."""
        return not self._reads and self._conversation.has_request

    def take_commit(self) -> Work | None:
        """Ends the request of a descriptor that cannot read: close(2) returns its error."""
        if not self.is_dirty():
            return None
        self._commits += 1

        async def work() -> None:
            try:
                await self._conversation.flush()
            finally:
                self._commits -= 1
                self._close_if_unused()

        return work

    def release(self) -> None:
        """Ends the conversation, after the request that is read now."""
        self._is_released = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_released and not self._commits:
            self._conversation.close()

    def is_readable(self) -> bool:
        """Whether outputs are there.

        Takes what the engine has sent first: a program that polls does not read.
        """
        self._conversation.poll()
        return self._conversation.is_readable()

    def next_change(self) -> trio.Event | None:
        """Returns the event of the next outputs."""
        return self._conversation.next_arrival()
