"""Fetches external files into place, verified, despite interruptions."""

import logging
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from lxmert_tickets.downloads.addresses import check_certificates, check_proxies, parsed, shown
from lxmert_tickets.downloads.checks import check_content
from lxmert_tickets.downloads.half_file import MAKE_ROOM, HalfFile, digest_of
from lxmert_tickets.downloads.lock_file import Pin, hold_to_pin, pin_name, read_pins, republished
from lxmert_tickets.downloads.receipts import Receipt
from lxmert_tickets.downloads.transfer import BrokenError, OtherSizeError, RefusedError, transfer
from lxmert_tickets.errors import FULL_DISK, DataError
from lxmert_tickets.jobs.locks import alone
from lxmert_tickets.progress import bytes_text

LEFT_AS_IT_IS = "Nothing was changed: put the right file there, or delete it so that it is downloaded."

_log = logging.getLogger("lxmert_tickets")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a mirror before trying the next."""

    attempts: int = 6  # in a row without a new byte
    first_pause_seconds: float = 2.0  # doubled each time
    longest_pause_seconds: float = 60.0
    longest_asked_seconds: float = 600.0  # longest Retry-After that is honoured
    connect_seconds: float = 30.0
    silence_seconds: float = 60.0  # without a byte, within a response

    def pause(self, n_fruitless: int) -> float:
        """Return the pause after the `n_fruitless`-th fruitless attempt, at random from half of it to all of it."""
        longest = min(self.first_pause_seconds * 2.0 ** max(n_fruitless - 1, 0), self.longest_pause_seconds)
        return longest * random.uniform(0.5, 1)  # so that many jobs do not retry together


def fetch(urls: Sequence[str], target: Path, *, lock: Path, patience: Patience | None = None) -> Receipt:
    """Return the size and SHA-256 of the file at `target`, which is then in place and verified.

    An existing file is verified and used without touching the network. Otherwise the file is downloaded from the
    mirrors `urls`, in turn, resuming where an earlier run stopped. Its content must be what its name says. The SHA-256
    is pinned in `lock` on first use and compared on every later one.

    Raises DataError when an existing file is wrong (it is left unchanged), when no mirror provides it, and when the
    disk is full; ConfigError for an invalid address, including that of a proxy in the environment; ArtifactError when
    its folder or lock file cannot be made. No message contains a password or the query of an address.
    """

    def tell(holder: str) -> None:
        _log.info("%s: waiting for %s, which is downloading it", target, holder)

    addresses = [parsed(url) for url in urls]
    with _full_disk_reported(target), alone(target.with_name(f".{target.name}.lock"), target, "download it", tell):
        if target.exists() or target.is_symlink():
            return _take(target, lock)
        with HalfFile(target) as half:
            return _download(addresses, half, lock, patience or Patience())


def _take(target: Path, lock: Path) -> Receipt:
    """Return the receipt of the existing file. Raises DataError when it is wrong."""
    if not target.is_file():
        raise DataError(target, "a folder or a broken link", "a file", LEFT_AS_IT_IS)
    digest, size = digest_of(target)
    receipt = Receipt(digest.hexdigest(), size)
    try:
        _verify(receipt, target, target, lock, url=None)
    except DataError as error:
        raise DataError(target, error.found, error.expected, f"{error.remedy} {LEFT_AS_IT_IS}".strip()) from None
    for leftover in (".part", ".part.json"):
        target.with_name(f".{target.name}{leftover}").unlink(missing_ok=True)
    _log.info("%s: already there, verified (%s)", target, bytes_text(size))
    return receipt


def _verify(receipt: Receipt, path: Path, target: Path, lock: Path, url: str | None) -> None:
    """Check the content at `path`, unless it is pinned and so passed before; then compare or pin it."""
    pin = read_pins(lock).get(pin_name(lock, target))
    if pin is None or pin.sha256 != receipt.sha256:
        check_content(path, target.name)
    hold_to_pin(lock, target, receipt, url)


def _download(addresses: list[httpx2.URL], half: HalfFile, lock: Path, patience: Patience) -> Receipt:
    pin = read_pins(lock).get(pin_name(lock, half.target))
    failures: list[tuple[str, RefusedError]] = []
    if half.is_complete and half.origin is not None:  # the run was killed just before the end
        try:
            return _accept(half, lock, half.origin.mirror)
        except RefusedError as failure:
            _log.warning("%s: what an earlier run downloaded %s; downloading it again", half.target, failure)
    # First the mirror that the partial file came from: only that one is sure to be able to resume it.
    begun = half.origin.mirror if half.origin else None
    with _client(patience) as client:
        for address in sorted(addresses, key=lambda address: shown(address) != begun):
            try:
                return _from_mirror(client, address, half, pin, lock, patience)
            except RefusedError as failure:
                _log.warning("%s: %s %s", half.target, shown(address), failure)
                failures.append((shown(address), failure))
    raise _nowhere(half, lock, failures)


def _client(patience: Patience) -> httpx2.Client:
    timeout = httpx2.Timeout(patience.silence_seconds, connect=patience.connect_seconds)
    try:
        return httpx2.Client(timeout=timeout, headers={"Accept-Encoding": "identity", "Accept": "*/*"})
    except (ImportError, ValueError, httpx2.InvalidURL):  # SOCKS, another protocol, an invalid address
        check_proxies()
        raise
    except OSError as error:  # of ssl, which names no file
        check_certificates(error)
        raise


def _from_mirror(
    client: httpx2.Client, address: httpx2.URL, half: HalfFile, pin: Pin | None, lock: Path, patience: Patience
) -> Receipt:
    """Return the receipt of the file, downloaded from one mirror and verified. Raises RefusedError."""
    _bring(client, address, half, pin, patience)
    was_resumed = half.is_resumed
    try:
        return _accept(half, lock, shown(address))
    except RefusedError as failure:
        if not was_resumed:
            raise
        _log.warning("%s: %s %s; starting again from the beginning", half.target, shown(address), failure)
    _bring(client, address, half, pin, patience)
    return _accept(half, lock, shown(address))


def _bring(client: httpx2.Client, address: httpx2.URL, half: HalfFile, pin: Pin | None, patience: Patience) -> None:
    """Download the whole file into `half` from one mirror, retrying as `patience` allows."""
    n_fruitless, furthest, restart = 0, half.size, False
    while True:
        try:
            return transfer(client, address, half, pin, restart)
        except BrokenError as failure:
            n_fruitless = 0 if half.size > furthest else n_fruitless + 1
            furthest, restart = max(furthest, half.size), failure.restart
            if n_fruitless >= patience.attempts:
                raise RefusedError(f"{failure} ({n_fruitless} times in a row)") from None
            asked = failure.wait_seconds or 0.0
            if asked > patience.longest_asked_seconds:
                raise RefusedError(f"{failure} and asks to retry in {asked:.0f} s") from None
            pause = max(asked, patience.pause(n_fruitless))
            message = "%s: %s %s after %s; trying again in %.1f s"
            _log.warning(message, half.target, shown(address), failure, bytes_text(half.size), pause)
            time.sleep(pause)


def _accept(half: HalfFile, lock: Path, url: str) -> Receipt:
    """Verify the download and rename it to its target. Raises RefusedError, and discards it, when it is wrong."""
    receipt = half.receipt()
    try:
        _verify(receipt, half.path, half.target, lock, url)
    except DataError as error:
        half.discard()
        raise RefusedError(f"gave a file that {error.found}; expected {error.expected}", error.remedy) from None
    if half.target.exists():  # put there by a user meanwhile: theirs is never overwritten
        return _take(half.target, lock)
    half.publish()
    _log.info("%s: downloaded and verified (%s)", half.target, bytes_text(receipt.size_bytes))
    return receipt


def _nowhere(half: HalfFile, lock: Path, failures: list[tuple[str, RefusedError]]) -> DataError:
    reasons = "".join(f"\n  {mirror}, which {failure}" for mirror, failure in failures)
    remedies = [failure.remedy for _, failure in failures if failure.remedy]
    if any(isinstance(failure, OtherSizeError) for _, failure in failures):
        remedies.append(republished(lock, half.target))
    if half.size:
        remedies.append(f"{bytes_text(half.size)} have arrived and are kept.")
    by_hand = f"put the file at {half.target} by hand: it will be verified and used."
    remedies.append(f"Run again later, name another mirror, or {by_hand}")
    expected = f"a download from one of these:{reasons}" if failures else "a mirror in the configuration"
    return DataError(half.target, "cannot be downloaded", expected, " ".join(dict.fromkeys(remedies)))


@contextmanager
def _full_disk_reported(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise DataError(target, f"the disk of {target.parent} is full", "space for the file", MAKE_ROOM) from None
