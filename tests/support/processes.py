"""What a test needs to start processes of its own."""

import os
import socket
import sys


def python_environment(**variables):
    """The environment in which another Python finds what this one imports, with a quiet TensorFlow."""
    path = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}


def free_addresses(count):
    """Addresses of this machine that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    return addresses
