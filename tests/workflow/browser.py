"""A headless Chromium that shows files of this machine, driven by its own protocol through a pair of pipes.

The protocol (https://chromedevtools.github.io/devtools-protocol) is JSON, each message ended by a zero byte; Chromium
reads from file descriptor 3 and writes to 4. So neither a driver nor a package is needed, and no port is opened.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import debian

PROGRAM = PACKAGE = "chromium"
OPTIONS = (
    "--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no host has an address: what is not in the file is not found
)  # fmt: skip
PATIENCE_SECONDS = 60.0
DOMAINS = ("Page", "Runtime", "Log", "Network")
FIRST_FREE_NUMBER = 10  # of file descriptors: clear of 3 and 4


class BrowserError(Exception):
    """Chromium ended, did not answer, or reported an error."""


class Page:
    """One tab. `complaints` are its console errors and failed requests; `requests` all it asked for but data URLs."""

    def __init__(self, reading: int, writing: int) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._reading, self._writing = reading, writing
        self._unread = b""
        self._n_sent = 0
        self._contexts: dict[tuple[str, int], str] = {}  # session, number -> frame, in order of arrival
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = str(self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        self._frame = target
        self._watch(self._session)

    def open(self, file: Path) -> None:
        """Show `file`, and wait until it has loaded."""
        self.evaluate("window.left = true")  # to tell the new page from this one, which may show the same file
        self.call("Page.navigate", self._session, url=file.as_uri())
        self.wait_for("window.left === undefined && document.readyState === 'complete'")

    def evaluate(self, expression: str, *, inside: bool = False) -> Any:
        """Return the value of a JavaScript expression; with `inside`, of one in the newest frame, which must exist."""
        session, where = self._session, {}
        if inside:
            self.call("Browser.getVersion")  # events about frames are read while waiting for a reply
            inner = [key for key, frame in self._contexts.items() if frame != self._frame]
            if not inner:
                raise BrowserError("no frame within the page")
            session, where = inner[-1][0], {"contextId": inner[-1][1]}
        reply = self.call(
            "Runtime.evaluate", session, expression=expression, returnByValue=True, awaitPromise=True, **where
        )
        if "exceptionDetails" in reply:
            raise BrowserError(f"{expression}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def wait_for(self, expression: str, *, inside: bool = False) -> None:
        """Wait until the expression is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with suppress(BrowserError):  # what it refers to may not exist yet
                if self.evaluate(expression, inside=inside):
                    return
            if time.monotonic() > deadline:
                raise BrowserError(f"never came true: {expression}")
            time.sleep(0.02)

    def wait_for_complaints(self, kinds: set[str]) -> None:
        """Wait until there are some of each of these kinds, and of no other: a page loads before its errors arrive."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while {complaint.partition(":")[0] for complaint in self.complaints} != kinds:
            if time.monotonic() > deadline:
                raise BrowserError(f"not all of {sorted(kinds)} came: {self.complaints}")
            self.call("Browser.getVersion")  # events of the page are read while waiting for a reply
            time.sleep(0.02)

    def screenshot(self, path: Path) -> None:
        """Write what the page shows to a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", self._session)["data"]))

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Return the browser's reply; note the events that come before it."""
        number = self._send(method, session, parameters)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (message := self._receive(deadline)).get("id") != number:
            if "method" in message:
                self._note(message["method"], message["params"], message.get("sessionId", ""))
        if "error" in message:
            raise BrowserError(f"{method}: {message['error']}")
        return dict(message["result"])

    def _watch(self, session: str) -> None:
        for domain in DOMAINS:
            self._send(f"{domain}.enable", session, {})
        # A frame may have its own process and so its own session: it waits until that is watched too.
        options = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}
        self._send("Target.setAutoAttach", session, options)
        self._send("Runtime.runIfWaitingForDebugger", session, {})

    def _note(self, event: str, about: dict[str, Any], session: str) -> None:
        match event:
            case "Target.attachedToTarget" if about["sessionId"] != getattr(self, "_session", about["sessionId"]):
                self._watch(about["sessionId"])
            case "Runtime.executionContextCreated" if about["context"]["auxData"].get("isDefault"):
                self._contexts[session, about["context"]["id"]] = about["context"]["auxData"]["frameId"]
            case "Runtime.executionContextDestroyed":
                self._contexts.pop((session, about["executionContextId"]), None)
            case "Runtime.executionContextsCleared":
                self._contexts = {key: frame for key, frame in self._contexts.items() if key[0] != session}
            case "Runtime.consoleAPICalled" if about["type"] in {"error", "assert"}:
                self.complaints.append(f"console.{about['type']}: {about['args']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(f"exception: {about['exceptionDetails']}")
            case "Log.entryAdded" if about["entry"]["level"] == "error":
                self.complaints.append(f"log: {about['entry']}")
            case "Network.loadingFailed":
                self.complaints.append(f"not loaded: {about}")
            case "Network.requestWillBeSent" if not about["request"]["url"].startswith("data:"):
                self.requests.append(about["request"]["url"])

    def _send(self, method: str, session: str, parameters: dict[str, Any]) -> int:
        self._n_sent += 1
        message = {"id": self._n_sent, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        return self._n_sent

    def _receive(self, deadline: float) -> dict[str, Any]:
        parts = [self._unread]
        while b"\0" not in parts[-1]:
            if not select.select([self._reading], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BrowserError(f"no reply within {PATIENCE_SECONDS:.0f} s")
            parts.append(os.read(self._reading, 1 << 16))
            if not parts[-1]:
                raise BrowserError("Chromium has ended")
        message, _, self._unread = b"".join(parts).partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """Yield a tab of a Chromium whose profile and messages lie in `folder`; end it afterwards.

    The test skips where there is no Chromium and none can be installed.
    """
    debian.install([PROGRAM], [PACKAGE])
    theirs_in, ours_out = _pipe()
    ours_in, theirs_out = _pipe()
    program = str(shutil.which(PROGRAM))
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    arguments = [*OPTIONS, *sandbox, "--window-size=1500,1000", f"--user-data-dir={folder / 'profile'}"]
    log = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4),
        *((os.POSIX_SPAWN_OPEN, stream, str(folder / "said"), log, 0o644) for stream in (1, 2)),
    ]  # fmt: skip
    number = os.posix_spawn(program, [program, *arguments], os.environ, file_actions=actions, setsid=True)
    for theirs in (theirs_in, theirs_out):
        os.close(theirs)
    try:
        yield Page(ours_in, ours_out)
    finally:
        os.close(ours_out)  # with its input closed, it ends
        _end(number)
        os.close(ours_in)


def _pipe() -> tuple[int, int]:
    """Return the two ends of a pipe, under numbers that the browser does not use."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE_NUMBER) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


def _end(number: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if os.waitpid(number, os.WNOHANG) != (0, 0):
            return
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
    os.waitpid(number, 0)
