"""The ways to call the program, in the order of the tables."""

from benchmarks.peers.base import Peer
from benchmarks.peers.fastapi.client import FastApi
from benchmarks.peers.floors import FLOORS, EchoC, EchoPyfuse3, EchoPython
from benchmarks.peers.grpc.client import Grpc
from benchmarks.peers.jaxfs import Baseline, Jaxfs
from benchmarks.peers.python_c import PythonC

PEERS: dict[str, type[Peer]] = {
    kind.name: kind for kind in (EchoC, EchoPython, EchoPyfuse3, Jaxfs, FastApi, Grpc, PythonC)
}

__all__ = [
    "FLOORS",
    "PEERS",
    "Baseline",
    "EchoC",
    "EchoPyfuse3",
    "EchoPython",
    "FastApi",
    "Grpc",
    "Jaxfs",
    "Peer",
    "PythonC",
]
