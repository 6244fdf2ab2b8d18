"""Messages between processes: damaged ones are refused and leave nothing open."""

from __future__ import annotations

import socket

import msgspec
import pytest

from jaxfs.engine.protocol import Failed
from jaxfs.ipc.channel import AsyncChannel, send_fds
from tests.conftest import closing_descriptors

DAMAGED = {
    "no MessagePack": b"\xc1\xff",
    "another type": msgspec.msgpack.encode({"type": "Failed", "run": "x"}),
    "text that is not UTF-8": msgspec.msgpack.encode(Failed(1, 5, "???")).replace(
        b"???", b"\xff\xfe\xfd"
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_damaged_message_is_refused_and_its_descriptors_are_closed(name: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        channel: AsyncChannel[Failed] = AsyncChannel(ours, Failed)
        with closing_descriptors():
            send_fds(theirs, DAMAGED[name], [0, 0])
            with pytest.raises(msgspec.MsgspecError):
                channel.receive_nowait()
        channel.close()
