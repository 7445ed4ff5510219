"""A folder on a web server of this machine."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from loopback import ADDRESS, running


@dataclass
class WebSite:
    """The URL of the folder, and the paths requested so far."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def served(folder: Path) -> Iterator[WebSite]:
    """Serve `folder` while the context lasts."""
    site = WebSite("")

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(ADDRESS, functools.partial(Handler, directory=str(folder)))
    with running(server) as site.url:
        yield site
