"""Web servers of the tests, which nobody but this machine can reach."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

ADDRESS = ("127.0.0.1", 0)  # any port that is free


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
