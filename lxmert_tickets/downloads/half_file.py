"""A file on its way: the bytes that have come so far, their digest, and what is needed to go on from there.

The bytes lie at `.NAME.part` beside the final name, so that the last step is a rename. `.NAME.part.json` says which
version of which mirror's file they belong to; it is written before the first byte. A kill at any moment leaves both
in a state that the next run goes on from.
"""

import hashlib
import shutil
from io import FileIO
from pathlib import Path

import msgspec

from lxmert_tickets.artifacts import put_in_place, write_json
from lxmert_tickets.downloads.receipts import Receipt
from lxmert_tickets.errors import DataError
from lxmert_tickets.progress import Progress, bytes_text

BLOCK_BYTES = 1 << 20
MARGIN_BYTES = 16 << 20
MAKE_ROOM = "Free some disk space and run again: what has arrived so far is kept."


class Origin(msgspec.Struct, frozen=True):
    """Which version of which mirror's file the bytes belong to.

    `mirror` is the address without secrets, `validator` a strong ETag or Last-Modified, `size_bytes` the size of the
    whole file; None where the mirror does not say.
    """

    mirror: str
    validator: str | None
    size_bytes: int | None


class HalfFile:
    """The bytes of `target` that have come so far; a context manager, one at a time."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self._origin_path = target.with_name(f".{target.name}.part.json")
        self._file: FileIO | None = None
        self.origin = self._read_origin()
        if self.origin is None:
            self.path.unlink(missing_ok=True)  # bytes of unknown origin are good for nothing
        self._digest, self.size = digest_of(self.path) if self.path.exists() else (hashlib.sha256(), 0)
        self.is_resumed = self.size > 0  # made of more than one answer

    def __enter__(self) -> "HalfFile":
        return self

    def __exit__(self, *failure: object) -> None:
        self._close()

    @property
    def is_complete(self) -> bool:
        """Whether the mirror's whole file has come, by the size that the mirror told."""
        return self.origin is not None and 0 < self.size == self.origin.size_bytes

    def begin(self, origin: Origin) -> None:
        """Throw away what has come so far: the bytes of `origin` begin at 0."""
        self.discard()
        write_json(self._origin_path, msgspec.to_builtins(origin))
        self.origin = origin

    def append(self, block: bytes) -> None:
        """Add `block` to the file and to the digest, as far as the disk takes it."""
        if self._file is None:
            self._file = FileIO(self.path, "ab")  # unbuffered: what has come survives a kill
        rest = memoryview(block)
        while rest:
            n = self._file.write(rest)
            self._digest.update(rest[:n])
            self.size += n
            rest = rest[n:]

    def check_room(self, size_bytes: int) -> None:
        """Raise DataError unless the disk has room for the rest of `size_bytes`, and a little more."""
        need = size_bytes - self.size
        need += need // 50 + MARGIN_BYTES
        free = free_bytes(self.target.parent)
        if free < need:
            found = f"{bytes_text(free)} free on the disk of {self.target.parent}"
            raise DataError(self.target, found, f"{bytes_text(need)} for the download", MAKE_ROOM)

    def receipt(self) -> Receipt:
        """Return the digest and size of what has come so far."""
        return Receipt(sha256=self._digest.hexdigest(), size_bytes=self.size)

    def publish(self) -> None:
        """Flush the bytes to disk and give them their final name."""
        self._close()
        put_in_place(self.path, self.target)
        self.discard()

    def discard(self) -> None:
        """Remove all that has come so far."""
        self._close()
        self.path.unlink(missing_ok=True)  # first the bytes: they must never lie beside another origin
        self._origin_path.unlink(missing_ok=True)
        self._digest, self.size, self.origin, self.is_resumed = hashlib.sha256(), 0, None, False

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_origin(self) -> Origin | None:
        try:
            return msgspec.json.decode(self._origin_path.read_bytes(), type=Origin)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None


def free_bytes(folder: Path) -> int:
    """Return how many bytes the disk of `folder` has room for."""
    return shutil.disk_usage(folder).free


def digest_of(path: Path) -> tuple["hashlib._Hash", int]:
    """Return the running SHA-256 of a file's bytes, and how many these are; tell the progress of a large file."""
    digest, total = hashlib.sha256(), path.stat().st_size
    with path.open("rb", buffering=0) as handle, Progress(f"reading {path.name}", total, unit="B") as progress:
        n = 0
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
            n += len(block)
            progress.advance(len(block))
    return digest, n
