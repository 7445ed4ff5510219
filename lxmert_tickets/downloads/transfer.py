"""One request for the rest of a file: which responses to trust, and how each failure is handled.

Ranges, validators and conditional ranges: RFC 9110, sections 8.8, 13.1.5, 14, 15.3.7 and 15.5.17.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path

import httpx2

from lxmert_tickets.downloads.addresses import refusal, shown
from lxmert_tickets.downloads.checks import HEAD_BYTES, TELL_THEIR_END, opening_fault
from lxmert_tickets.downloads.half_file import HalfFile, Origin
from lxmert_tickets.downloads.lock_file import Pin
from lxmert_tickets.progress import Progress

MAX_REDIRECTS = 10
PASSING_STATUS = {408, 425, 429}
CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")

# Both would log whole addresses, with signatures and tokens.
logging.getLogger("httpx2").setLevel(logging.WARNING)
logging.getLogger("httpcore2").setLevel(logging.WARNING)


class BrokenError(Exception):
    """A transient failure: retry this mirror, after `wait_seconds` if it said so, from byte 0 if `restart`."""

    def __init__(self, reason: str, wait_seconds: float | None = None, restart: bool = False) -> None:
        super().__init__(reason)
        self.wait_seconds, self.restart = wait_seconds, restart


UNKNOWN_CERTIFICATE = "If you trust the server, set SSL_CERT_FILE to a file with the certificates of its authority."


class RefusedError(Exception):
    """A permanent failure: try the next mirror. `remedy` is for the user, if all fail."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class OtherSizeError(RefusedError):
    """This mirror's file does not have the pinned size."""


def transfer(client: httpx2.Client, address: httpx2.URL, half: HalfFile, pin: Pin | None, restart: bool) -> None:
    """Download the rest of the file at `address` into `half`, or all of it; return when it is complete.

    Raises BrokenError or RefusedError; what has been received stays in `half` if it can be resumed.
    """
    headers = {} if restart else range_headers(half, shown(address), pin)
    try:
        with _answer(client, address, headers) as response:
            if response.status_code == 206 and headers:
                _append(response, half, headers.get("If-Range"))
            elif response.status_code == 200:
                _take_all(response, half, shown(address), pin)
            elif response.status_code == 416 and headers:
                _check_end(response, half, pin)
            else:
                raise _failure(response)
    except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RefusedError(_in_words(error), UNKNOWN_CERTIFICATE) from None
        raise BrokenError(_in_words(error)) from None
    except httpx2.RequestError as error:  # without the error's text, which may quote the address
        raise RefusedError(f"cannot be asked ({type(error).__name__})") from None
    except UnicodeError:  # a label of the host name has over 63 characters
        raise RefusedError("has a host name that cannot be looked up") from None


def range_headers(half: HalfFile, mirror: str, pin: Pin | None) -> dict[str, str]:
    """Return the headers that request the rest of `half`; {} when it cannot be resumed safely.

    It can when the same mirror is given the version's validator, or when the SHA-256 and the size are pinned, so that a
    mix of versions is detected at the end.
    """
    if half.origin is None or half.size == 0:
        return {}
    rest = {"Range": f"bytes={half.size}-"}
    if half.origin.mirror == mirror and half.origin.validator:
        return {**rest, "If-Range": half.origin.validator}
    return rest if pin is not None and pin.size_bytes == half.origin.size_bytes else {}


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return the ETag or date that identifies one version of a file; None when there is none.

    A date does if the file was at least a second old when sent; a weak ETag never does (RFC 9110, section 8.8).
    """
    if tag := headers.get("etag", ""):
        return tag if tag.startswith('"') else None
    changed, now = _date(headers.get("last-modified")), _date(headers.get("date"))
    if changed is None or now is None or now - changed < timedelta(seconds=1):
        return None
    return headers["last-modified"]


def retry_after_seconds(text: str | None, now: datetime) -> float | None:
    """Return how long the Retry-After `text`, seconds or a date, asks to wait; None if absent or invalid."""
    if text is None:
        return None
    if re.fullmatch(r"\d{1,9}", text.strip()):
        return float(text)
    date = _date(text)
    return None if date is None else max(0.0, (date - now).total_seconds())


@contextmanager
def _answer(client: httpx2.Client, address: httpx2.URL, headers: dict[str, str]) -> Iterator[httpx2.Response]:
    request = client.build_request("GET", address, headers=headers)
    for _ in range(MAX_REDIRECTS + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if not response.has_redirect_location:
                yield response
                return
            if response.next_request is None:
                raise RefusedError("redirects to an address that cannot be read")
            if why := refusal(request.url, response.next_request.url):
                raise RefusedError(why)
            request = response.next_request
        finally:
            response.close()
    raise RefusedError(f"redirects more than {MAX_REDIRECTS} times")


def _append(response: httpx2.Response, half: HalfFile, validator: str | None) -> None:
    """Append a partial response to `half`, of the version that `validator` identifies; None: its digest is pinned."""
    told = response.headers.get("etag" if (validator or "").startswith('"') else "last-modified")
    if validator and told not in (None, validator):  # some servers support ranges, but not If-Range
        raise BrokenError("answers with a part of another version of the file", restart=True)
    span = CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    if span is None:
        raise BrokenError("answers with a part of the file, but does not say which", restart=True)
    first, last = int(span[1]), int(span[2])
    total = None if span[3] == "*" else int(span[3])
    known = half.origin.size_bytes if half.origin else None
    if first != half.size or last < first:
        raise BrokenError(f"answers with bytes {first}-{last} instead of {half.size}-", restart=True)
    if None not in (total, known) and total != known:
        raise BrokenError(f"now says that the file has {total} bytes, not {known}", restart=True)
    if (end := total or known) is None:
        raise BrokenError("does not say how long the file is", restart=True)
    _refuse_coding(response)
    if _length(response) not in (None, last - first + 1):
        raise BrokenError(f"announces {_length(response)} bytes for the range {first}-{last}", restart=True)
    half.check_room(end)
    half.is_resumed = True
    _receive(response.iter_raw(), half, end)


def _take_all(response: httpx2.Response, half: HalfFile, mirror: str, pin: Pin | None) -> None:
    _refuse_coding(response)
    total, name = _length(response), half.target.name
    blocks, head = response.iter_raw(), b""
    for block in blocks:
        head += block
        if len(head) >= HEAD_BYTES:
            break
    # Checked before the partial file is discarded:
    if fault := opening_fault(name, head, response.headers.get("content-type", "")):
        raise RefusedError("answers with a file that {}; expected {}".format(*fault))
    if pin is not None and total not in (None, pin.size_bytes):
        raise OtherSizeError(f"has a file of {total} bytes; expected {pin.size_bytes}, as pinned with {pin.sha256}")
    if pin is None and not _end_shows(response, name):
        raise RefusedError("does not say how long the file is, so that a broken connection would look like its end")
    half.begin(Origin(mirror, strong_validator(response.headers), total))
    if total is not None:
        half.check_room(total)
    _receive(chain([head], blocks), half, total)


def _receive(blocks: Iterator[bytes], half: HalfFile, total: int | None) -> None:
    with Progress(f"downloading {half.target.name}", total, unit="B", initial=half.size) as progress:
        for block in blocks:
            if total is not None and half.size + len(block) > total:
                raise BrokenError(f"sends more than the {total} bytes that it announced", restart=True)
            half.append(block)
            progress.advance(len(block))
    if total is not None and half.size < total:
        raise BrokenError(f"ends after {half.size} of {total} bytes")


def _check_end(response: httpx2.Response, half: HalfFile, pin: Pin | None) -> None:
    """Return if "range not satisfiable" means that nothing is missing: only where the size was known before.

    Otherwise the file may have been replaced by one exactly as long as what has been received.
    """
    known = pin.size_bytes if pin else half.origin.size_bytes if half.origin else None
    if half.size != known or response.headers.get("content-range") != f"bytes */{known}":
        raise BrokenError(f"has nothing after byte {half.size}", restart=True)


def _failure(response: httpx2.Response) -> BrokenError | RefusedError:
    status = f"answers {response.status_code} {response.reason_phrase}".strip()
    if response.status_code >= 500 or response.status_code in PASSING_STATUS:
        return BrokenError(status, retry_after_seconds(response.headers.get("retry-after"), datetime.now(UTC)))
    return RefusedError(status)


def _refuse_coding(response: httpx2.Response) -> None:
    coding = response.headers.get("content-encoding", "")
    if coding.lower() not in ("", "identity"):
        raise RefusedError(f"answers with the file coded as {coding[:20]!r}, which was not asked for")


def _end_shows(response: httpx2.Response, name: str) -> bool:
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    return _length(response) is not None or chunked or Path(name).suffix.lower() in TELL_THEIR_END


def _length(response: httpx2.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _in_words(error: httpx2.RequestError) -> str:
    match error:
        case httpx2.ConnectTimeout():
            return "cannot be reached in time"
        case httpx2.TimeoutException():
            return "falls silent"
        case httpx2.RemoteProtocolError():
            return f"breaks off ({error})"[:200]
        case httpx2.ProxyError():
            return "cannot be reached through the proxy"
        case _:
            return f"cannot be reached ({error or type(error).__name__})"[:200]
