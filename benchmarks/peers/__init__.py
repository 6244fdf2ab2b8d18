"""The ways to call the program, in the order of the table."""

from benchmarks.peers.base import Peer
from benchmarks.peers.fastapi.client import FastApi
from benchmarks.peers.floors import Floor
from benchmarks.peers.grpc.client import Grpc
from benchmarks.peers.jaxfs import Jaxfs
from benchmarks.peers.python_c import PythonC

PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (Floor, Jaxfs, FastApi, Grpc, PythonC)}

__all__ = ["PEERS", "FastApi", "Floor", "Grpc", "Jaxfs", "Peer", "PythonC"]
