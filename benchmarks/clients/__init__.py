"""The processes that call a peer, and the latencies that they return."""
