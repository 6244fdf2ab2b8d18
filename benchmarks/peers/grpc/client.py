"""Python gRPC."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, GrpcUnary

SERVICE = "benchmarks.Programs"
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # fewer, larger frames: a fifth off the time of 1 MiB messages
    ("grpc.http2.max_frame_size", (1 << 24) - 1),
    ("grpc.http2.write_buffer_size", 1 << 24),
)


class Grpc(Peer):
    name = "grpc"
    what = "grpcio, synchronous server and stub, one process; raw bytes, TCP, no protobuf"

    def start(self) -> None:
        self._port = int(self.resources.enter_context(server("benchmarks.peers.grpc.server")))

    def endpoint(self, size_bytes: int) -> Endpoint:
        return GrpcUnary(self._port, f"/{SERVICE}/Affine", OPTIONS)
