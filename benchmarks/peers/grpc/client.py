"""Python gRPC, and the channel to it."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, Transport

SERVICE = "benchmarks.Programs"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # fewer, larger frames: a fifth off the time of 1 MiB messages
    ("grpc.http2.max_frame_size", (1 << 24) - 1),
    ("grpc.http2.write_buffer_size", 1 << 24),
)


class Grpc(Peer):
    """A remote procedure call."""

    name = "grpc"
    what = "grpcio, synchronous server and stub, one process; raw bytes, TCP, no protobuf"

    def start(self) -> None:
        """Starts the server, which prints its port when it answers."""
        command = (sys.executable, "-m", "benchmarks.peers.grpc.server")
        started = self.resources.enter_context(server(*command))
        self._port = int(started.ready_line)

    def endpoint(self, size_bytes: int) -> Endpoint:
        """Returns the program's method; it takes messages of any size."""
        return GrpcUnary(self._port, f"/{SERVICE}/Affine", OPTIONS)


@dataclass(frozen=True)
class GrpcUnary:
    """A unary method; its messages are the raw bytes."""

    port: int
    method: str
    options: tuple[tuple[str, int], ...]
    echoes: bool = False

    def connect(self) -> Transport:
        """Opens a channel of its own to the server."""
        return _GrpcTransport(self)


class _GrpcTransport:
    def __init__(self, endpoint: GrpcUnary) -> None:
        import grpc  # noqa: PLC0415  # the clients of other peers must not carry its threads

        # without a pool of its own a channel would share the connection of the others
        options = (*endpoint.options, ("grpc.use_local_subchannel_pool", 1))
        self._channel = grpc.insecure_channel(f"127.0.0.1:{endpoint.port}", options=options)
        self.call = self._channel.unary_unary(endpoint.method)

    def close(self) -> None:
        self._channel.close()
