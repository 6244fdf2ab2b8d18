"""The gRPC peer: one process, one unary method; its messages are the raw bytes.

``python -m benchmarks.peers.grpc.server`` prints its port when it answers.  It uses no protobuf:
that would cost a copy each way.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from benchmarks.peers.grpc.client import OPTIONS, SERVICE
from benchmarks.workloads.program import call_affine

THREADS = 8


def affine(request: bytes, _context: grpc.ServicerContext) -> bytes:
    """f32[n] in, f32[n] out, as raw bytes."""
    return call_affine(np.frombuffer(request, np.float32)).tobytes()


def main() -> None:
    """Serves until a signal."""
    server = grpc.server(ThreadPoolExecutor(THREADS), options=OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(affine)
    generic = grpc.method_handlers_generic_handler(SERVICE, {"Affine": handler})
    server.add_generic_rpc_handlers((generic,))
    port = server.add_insecure_port("127.0.0.1:0")
    signal.signal(signal.SIGTERM, lambda *_: server.stop(None))
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
