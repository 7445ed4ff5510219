"""Web servers for tests, which only this machine can reach."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import ThreadingHTTPServer

ADDRESS = ("127.0.0.1", 0)  # any free port
# For servers that get their port before they start: none that the system hands out as any free port.
PORTS = range(20_000, 32_000)


def free_ports(n: int) -> list[int]:
    """Return `n` ports that nothing listens on, drawn at random since tests run side by side."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < n:
            with suppress(OSError):
                port = random.choice(PORTS)
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                found.append(port)
        return found


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[str]:
    """Yield the URL of `server`, which answers in a thread of its own while the context lasts."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    with server:
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
