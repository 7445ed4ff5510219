"""A partial download: the bytes received so far, their digest, and what is needed to resume.

The bytes are in `.NAME.part` beside the final name, so that the last step is a rename. `.NAME.part.json` says which
version of which mirror's file they belong to; it is written before the first byte. After a kill at any moment, the next
run can resume from them.
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
    whole file; the last two are None where the mirror does not say.
    """

    mirror: str
    validator: str | None
    size_bytes: int | None


class HalfFile:
    """The bytes of `target` received so far; a context manager, for one process at a time."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.part")
        self._origin_path = target.with_name(f".{target.name}.part.json")
        self._file: FileIO | None = None
        self.origin = self._read_origin()
        if self.origin is None:
            self.path.unlink(missing_ok=True)  # bytes of unknown origin cannot be resumed
        self._digest, self.size = digest_of(self.path) if self.path.exists() else (hashlib.sha256(), 0)
        self.is_resumed = self.size > 0  # from more than one response

    def __enter__(self) -> "HalfFile":
        return self

    def __exit__(self, *failure: object) -> None:
        self._close()

    @property
    def is_complete(self) -> bool:
        """Whether the whole file has been received, by the size that the mirror reported."""
        return self.origin is not None and 0 < self.size == self.origin.size_bytes

    def begin(self, origin: Origin) -> None:
        """Discard what has been received, and start at byte 0 of `origin`."""
        self.discard()
        write_json(self._origin_path, msgspec.to_builtins(origin))
        self.origin = origin

    def append(self, block: bytes) -> None:
        """Append `block` to the file and the digest; if the disk fills up, both hold what was written."""
        if self._file is None:
            self._file = FileIO(self.path, "ab")  # unbuffered: what is received survives a kill
        rest = memoryview(block)
        while rest:
            n = self._file.write(rest)
            self._digest.update(rest[:n])
            self.size += n
            rest = rest[n:]

    def check_room(self, size_bytes: int) -> None:
        """Raise DataError unless the disk has room for the rest of `size_bytes`, plus a margin."""
        need = size_bytes - self.size
        need += need // 50 + MARGIN_BYTES
        free = shutil.disk_usage(self.target.parent).free
        if free < need:
            found = f"{bytes_text(free)} free on the disk of {self.target.parent}"
            raise DataError(self.target, found, f"{bytes_text(need)} for the download", MAKE_ROOM)

    def receipt(self) -> Receipt:
        """Return the digest and size of what has been received."""
        return Receipt(sha256=self._digest.hexdigest(), size_bytes=self.size)

    def publish(self) -> None:
        """Flush the bytes to disk and rename them to `target`."""
        self._close()
        put_in_place(self.path, self.target)
        self.discard()

    def discard(self) -> None:
        """Remove everything received so far."""
        self._close()
        self.path.unlink(missing_ok=True)  # bytes first: they must never be paired with another origin
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


def digest_of(path: Path) -> tuple["hashlib._Hash", int]:
    """Return the running SHA-256 of a file and its size in bytes, showing progress for a large one."""
    digest, total = hashlib.sha256(), path.stat().st_size
    with path.open("rb", buffering=0) as handle, Progress(f"reading {path.name}", total, unit="B") as progress:
        n = 0
        while block := handle.read(BLOCK_BYTES):
            digest.update(block)
            n += len(block)
            progress.advance(len(block))
    return digest, n
