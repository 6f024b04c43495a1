"""The small fastmcp server of the tests over Streamable HTTP: listens on a free port and prints its URL."""

import socket
import sys
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from fastmcp_server import server  # noqa: E402

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
host, port = listener.getsockname()
print(f"http://{host}:{port}/mcp", flush=True)
# The banner would ask the network for newer releases.
anyio.run(lambda: server.run_http_async(show_banner=False, path="/mcp", sockets=[listener], log_level="warning"))
