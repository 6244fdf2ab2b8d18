"""How jaxfs' processes talk: messages on a socket, array data in shared memory."""
