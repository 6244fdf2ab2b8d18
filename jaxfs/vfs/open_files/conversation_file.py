"""The file ``call``: a conversation."""

from __future__ import annotations

import os

import trio

from jaxfs.calls.conversation import Conversation
from jaxfs.vfs.open_files.base import Handle


class ConversationFile(Handle):
    """An open ``call``."""

    def __init__(self, conversation: Conversation, flags: int) -> None:
        self._conversation = conversation
        self._wait = not flags & os.O_NONBLOCK
        self._reads = flags & os.O_ACCMODE != os.O_WRONLY

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return await self._conversation.read(size, wait=self._wait)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._conversation.write(data)

    def read_now(self, offset: int, size: int) -> bytes | None:
        return self._conversation.read_now(size)

    def write_now(self, offset: int, data: bytes) -> bool:
        return self._conversation.write_now(data)

    async def truncate(self, size: int) -> None:
        """``> call`` truncates; there is nothing to cut."""

    async def flush(self) -> None:
        if not self._reads:
            await self._conversation.flush()

    def release(self) -> None:
        self._conversation.close()

    def is_readable(self) -> bool:
        self._conversation.poll()
        return self._conversation.is_readable()

    def next_change(self) -> trio.Event | None:
        return self._conversation.next_arrival()
