"""The lock file: the checksum of each external file when it was first used.

Nobody publishes checksums of these files. So the SHA-256 is pinned on first use and compared on every later one, on
this machine and, when the lock file is committed, on all others.
"""

import os
from pathlib import Path

import msgspec

from lxmert_tickets.artifacts import write_json
from lxmert_tickets.downloads.receipts import Receipt, Sha256, Size
from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.jobs.locks import alone


class Pin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pinned content of a file; `url` is where it was downloaded from, None for a file that was already there."""

    sha256: Sha256
    size_bytes: Size
    url: str | None = None


def pin_name(lock: Path, target: Path) -> str:
    """Return the name of `target` in the lock file: its path from the lock file's folder, with forward slashes."""
    return Path(os.path.relpath(target, lock.parent)).as_posix()


def read_pins(lock: Path) -> dict[str, Pin]:
    """Return all pins; {} if there is no lock file.

    Raises ArtifactError when the file is damaged.
    """
    try:
        return msgspec.json.decode(lock.read_bytes(), type=dict[str, Pin])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = "Repair it, or delete it: every file is then pinned again as it is."
        raise ArtifactError(
            lock, f"damaged lock file ({error})", "names with sha256, size_bytes, url", remedy
        ) from None


def hold_to_pin(lock: Path, target: Path, receipt: Receipt, url: str | None) -> None:
    """Pin `receipt` as the content of `target`, or compare it with the existing pin.

    Many processes may do so at once, for one file or several. Raises DataError, naming both digests, when the pin
    differs.
    """
    name = pin_name(lock, target)
    with alone(lock.with_name(f".{lock.name}.lock"), lock, "download to it"):
        pins = read_pins(lock)
        if name not in pins:
            pins[name] = Pin(receipt.sha256, receipt.size_bytes, url)
            write_json(lock, msgspec.to_builtins(pins))
        pin = pins[name]
        if pin.sha256 != receipt.sha256 or pin.size_bytes != receipt.size_bytes:
            found = f"has SHA-256 {receipt.sha256} ({receipt.size_bytes} bytes)"
            expected = f"{pin.sha256} ({pin.size_bytes} bytes), pinned in {lock}"
            raise DataError(target, found, expected, republished(lock, target))


def republished(lock: Path, target: Path) -> str:
    """Return the remedy for a file that differs from its pin."""
    return f'If it really was published again, remove the entry "{pin_name(lock, target)}" from {lock} and run again.'
