"""The FastAPI peer: one uvicorn process, the jitted program called in the handler.

``python -m benchmarks.peers.fastapi.server`` prints its port when it answers.  It is set up for
speed: uvloop and httptools, no access log, no copy of the result, no thread for the call.
"""

from __future__ import annotations

import socket

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response

from benchmarks.workloads.program import call_affine


async def affine(request: Request) -> Response:
    """f32[n] in, f32[n] out, as raw bytes."""
    inputs = np.frombuffer(await request.body(), np.float32)
    return Response(call_affine(inputs).data.cast("B"))


def main() -> None:
    """Serves until a signal."""
    app = FastAPI()
    app.add_api_route("/affine", affine, methods=["POST"], response_class=Response)
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning")
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
