"""Sends states and log entries to systemd: text on two datagram sockets.

States are those of sd_notify(3), if systemd started the service (NOTIFY_SOCKET).  The journal takes
one entry in a datagram, see https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

JOURNAL = Path("/run/systemd/journal/socket")
MAX_FIELD_BYTES = 64 << 10  # a datagram has to hold it


def _send(address: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(data, "\0" + address[1:] if address.startswith("@") else address)


def notify(*assignments: str) -> None:
    """Sends ``READY=1`` and the like, if systemd started us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with contextlib.suppress(OSError):
            _send(address, "\n".join(assignments).encode())


def notify_reloading() -> None:
    """Sends that the service reloads, and when: Type=notify-reload needs both."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def journal(fields: dict[str, str]) -> None:
    """Sends one entry to systemd's journal.

    Raises:
        OSError: There is no journal.
    """
    _send(str(JOURNAL), b"".join(_field(name, text) for name, text in fields.items()))


def _field(name: str, text: str) -> bytes:
    """Returns one field in the journal's native protocol, at most ``MAX_FIELD_BYTES`` of it.

    A value of several lines has its length in front, in 8 bytes, little-endian.
    Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
    """
    data = text.encode(errors="replace")[:MAX_FIELD_BYTES]
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
