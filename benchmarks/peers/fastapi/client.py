"""FastAPI on uvicorn."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.processes import server
from benchmarks.transports import Endpoint, HttpPost


class FastApi(Peer):
    name = "fastapi"
    what = "FastAPI, uvicorn with uvloop and httptools, one process; raw bytes, TCP, keep-alive"

    def start(self) -> None:
        self._port = int(self.resources.enter_context(server("benchmarks.peers.fastapi.server")))

    def endpoint(self, size_bytes: int) -> Endpoint:
        return HttpPost(self._port, "/affine", size_bytes)
