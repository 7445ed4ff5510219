"""A real HTTP server on loopback that supports ranges, and fails on demand in the ways that real ones do."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from loopback import ADDRESS, running


@dataclass(frozen=True)
class Served:
    """A file as the server holds it."""

    content: bytes
    etag: str | None = '"one"'
    last_modified: str | None = None
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Answer:
    """How one request is answered; the default is a correct answer."""

    status: int | None = None  # instead of 200, 206, 416: no body
    headers: dict[str, str] = field(default_factory=dict)  # added to, or instead of, the correct ones
    leave_out: tuple[str, ...] = ()  # of the correct headers
    break_after: int | None = None  # bytes of the body, then the connection is closed
    stall_after: int | None = None  # bytes of the body, then silence
    stall_seconds: float = 3.0
    ignores_range: bool = False
    ignores_condition: bool = False
    chunked: bool = False
    bytes_per_second: float | None = None
    held_by: threading.Event | None = None  # the second half of the body waits for it
    extra: bytes = b""  # after the body


@dataclass
class Asked:
    """One request, and how many bytes of body were sent for it."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0

    @property
    def first_byte(self) -> int | None:
        """The first byte of the requested range; None when the whole file was requested."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return int(match[1]) if match else None


class BreakingServer(ThreadingHTTPServer):
    """Serves `files` by path; each request takes the next of `answers`, then correct ones."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(ADDRESS, _Handler)
        self.files: dict[str, Served] = {}
        self.answers: list[Answer] = []
        self.always = Answer()
        self.asked: list[Asked] = []
        self.guard = threading.Lock()

    def url(self, path: str = "/train.zip") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    @property
    def sent(self) -> int:
        """How many bytes of files have been sent in all."""
        return sum(asked.sent for asked in self.asked)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: killed clients break connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BreakingServer

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        with self.server.guard:
            self.server.asked.append(asked)
            answer = self.server.answers.pop(0) if self.server.answers else self.server.always
        served = self.server.files.get(self.path.partition("?")[0])
        if answer.status is not None or served is None:
            asked.status = answer.status or 404
            self._begin(asked.status, {"Content-Length": "0", **answer.headers})
            return
        status, headers, body = _correct(served, asked, answer)
        asked.status = status
        if answer.chunked:
            headers = {"Transfer-Encoding": "chunked", **{k: v for k, v in headers.items() if k != "Content-Length"}}
        headers = {name: value for name, value in headers.items() if name not in answer.leave_out}
        self._begin(status, {**headers, **answer.headers})
        self._send(body, answer, asked)
        if "Content-Length" in answer.leave_out or answer.extra:
            self.wfile.write(answer.extra)
            self.close_connection = True

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, body: bytes, answer: Answer, asked: Asked) -> None:
        stops = [stop for stop in (answer.break_after, answer.stall_after) if stop is not None]
        end = min([len(body), *stops])
        step = 16_384 if answer.bytes_per_second is None else max(1, int(answer.bytes_per_second / 50))
        for first in range(0, end, step):
            if answer.held_by is not None and first >= end // 2:
                answer.held_by.wait(60)
            block = body[first : min(first + step, end)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block) if answer.chunked else block)
            asked.sent += len(block)
            if answer.bytes_per_second is not None:
                time.sleep(len(block) / answer.bytes_per_second)
        if answer.stall_after is not None:
            time.sleep(answer.stall_seconds)
        if stops:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)
        elif answer.chunked:
            self.wfile.write(b"0\r\n\r\n")
        if "Content-Length" in answer.headers:  # a lie: nothing more comes
            self.close_connection = True


def _correct(served: Served, asked: Asked, answer: Answer) -> tuple[int, dict[str, str], bytes]:
    size, first = len(served.content), asked.first_byte
    headers = {"Content-Type": served.content_type, "Accept-Ranges": "bytes"}
    if served.etag:
        headers["ETag"] = served.etag
    if served.last_modified:
        headers["Last-Modified"] = served.last_modified
    condition = None if answer.ignores_condition else asked.headers.get("if-range")
    if answer.ignores_range or first is None or condition not in (None, served.etag, served.last_modified):
        return 200, {**headers, "Content-Length": str(size)}, served.content
    if first >= size:
        return 416, {**headers, "Content-Range": f"bytes */{size}", "Content-Length": "0"}, b""
    body = served.content[first:]
    headers |= {"Content-Range": f"bytes {first}-{size - 1}/{size}", "Content-Length": str(len(body))}
    return 206, headers, body


@contextmanager
def breaking_server() -> Iterator[BreakingServer]:
    """Yield a server that runs in a thread of its own."""
    server = BreakingServer()
    with running(server):
        yield server
