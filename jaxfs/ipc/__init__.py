"""Communication of jaxfs' processes: messages on a socket, array data in shared memory."""
