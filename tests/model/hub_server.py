"""A hub on loopback: the part of its protocol that downloading a file from a repository needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

from loopback import ADDRESS, running

from lxmert_tickets.artifacts import file_digest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
BLOCK = 1 << 20


@dataclass
class Hub:
    """Serves `folder` as `repository`, at COMMIT and its branch main; change the fields to make it misbehave."""

    folder: Path
    repository: str = "unc-nlp/lxmert-base-uncased"
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    status: int = 200
    """The status of every response, if not 200."""
    error_code: str = ""
    """The header X-Error-Code sent with `status`."""
    knows_error_codes: bool = True
    """A plain mirror answers 404 with no X-Error-Code."""
    names_commits: bool = True
    """A server that is not a hub sends no X-Repo-Commit."""
    breaks_after: int = 0
    """Bytes after which the first response to a GET of weights breaks off; 0 = never."""
    garbles: bool = False
    """Send bytes that do not match the ETag."""
    token: str = ""
    """The token that it requires; "" = none."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def paths(self, method: str) -> list[str]:
        return [path for used, path, _ in self.requests if used == method]


@cache
def digest_of(file: Path, _changed: int) -> str:
    """Return the SHA-256 of a file, computed once for each of its versions."""
    return file_digest(file)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve `hub` at its `url` while the context lasts."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with running(ThreadingHTTPServer(ADDRESS, handler)) as hub.url:
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Log nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.hub
        hub.requests.append((self.command, self.path, dict(self.headers)))
        if hub.status != 200:
            return self._refuse(hub.status, hub.error_code)
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(401, "", "Invalid credentials in Authorization header")
        prefix = f"/{hub.repository}/resolve/"
        if not self.path.startswith(prefix):
            return self._refuse(404, "RepoNotFound")
        revision, _, name = self.path.partition("?")[0].removeprefix(prefix).partition("/")
        commit = hub.branches.get(revision, revision if revision in hub.branches.values() else "")
        if not commit:
            return self._refuse(404, "RevisionNotFound")
        file = hub.folder / name
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", commit=commit)
        return self._send(file, commit)

    def _refuse(self, status: int, code: str, message: str = "", commit: str = "") -> None:
        self.send_response(status)
        headers = {"X-Error-Code": code, "X-Error-Message": message} if self.hub.knows_error_codes else {}
        for name, value in (headers | {"X-Repo-Commit": commit}).items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, file: Path, commit: str) -> None:
        size, start = file.stat().st_size, 0
        if self.headers.get("Range"):
            start = int(self.headers["Range"].removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        with open(file, "rb") as handle:
            self.send_header("ETag", f'"{digest_of(file, file.stat().st_mtime_ns)}"')
            if self.hub.names_commits:
                self.send_header("X-Repo-Commit", commit)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(size - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            if self.command == "GET":
                handle.seek(start)
                self._copy(handle, file.name != "config.json")

    def _copy(self, handle: IO[bytes], weights: bool) -> None:
        hub = self.hub
        if weights and hub.breaks_after:
            self.wfile.write(handle.read(hub.breaks_after))
            hub.breaks_after = 0
            self.close_connection = True
            return
        while block := handle.read(BLOCK):
            self.wfile.write(bytes(len(block)) if weights and hub.garbles else block)
