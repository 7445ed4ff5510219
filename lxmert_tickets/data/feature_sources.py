"""Tables of region features as streams of bytes: plain TSV files, and zip archives that hold one.

An archive is never unpacked: its table is inflated as it is read, and its checksum compared at the end. The name of
the table inside is used only in messages.
"""

import os
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from isal import isal_zlib

from lxmert_tickets.errors import DOWNLOAD_AGAIN, DataError, raise_if_of_the_disk
from lxmert_tickets.file_kinds import EMPTY_ZIP_MAGIC, GZIP_MAGIC, ZIP_DAMAGES, ZIP_MAGIC

EXPECTED = "a TSV file of region features, or a zip archive that holds one"
LOCAL_HEADER = struct.Struct("<4s2xHH16xHH")
"""Header of an archive member: magic, flags, method, and the lengths of the name and the extra field."""

ENCRYPTED = 0x1
COMPRESSED_CHUNK_BYTES = 1 << 16
INFLATED_CHUNK_BYTES = 1 << 20
"""Most that one call returns: a chunk of zeros inflates to a thousand times its size."""


class Reader(ABC):
    """Reads a table front to back."""

    @abstractmethod
    def read_into(self, view: memoryview) -> int:
        """Read into the start of `view` and return the number of bytes: 0 only at the end."""


@dataclass(frozen=True)
class Table:
    """One table: `path` is the file it is in, `label` names it in messages, `size_bytes` is its uncompressed size.

    `crc` is the CRC-32 recorded in the archive, None for a plain file. `identity` differs between tables, and changes
    when the file does.
    """

    path: Path
    label: str
    size_bytes: int
    modified_ns: int
    file_bytes: int
    crc: int | None = None
    member: zipfile.ZipInfo | None = None

    @property
    def identity(self) -> list[str | int | None]:
        names = [os.fsencode(name).decode(errors="backslashreplace") for name in (self.path.resolve(), self.label)]
        return [*names, self.size_bytes, self.file_bytes, self.modified_ns, self.crc]

    @property
    def can_seek(self) -> bool:
        """Whether reading can start anywhere; deflated tables are inflated from the start."""
        return self.member is None or self.member.compress_type == zipfile.ZIP_STORED

    @contextmanager
    def opened(self, start: int = 0) -> Iterator[Reader]:
        """Yield a reader of the table from byte `start`, which must be 0 unless `can_seek`.

        Raises DataError when the file cannot be read; so does the reader.
        """
        with _opened(self.path) as file:
            if self.member is None:
                file.seek(start)
                yield _PlainReader(self, file, self.size_bytes - start)
                return
            file.seek(_data_offset(self.path, file, self.member) + start)
            if self.can_seek:
                yield _PlainReader(self, file, self.size_bytes - start)
            else:
                yield _InflatingReader(self, file, self.member.compress_size)

    def check_end(self, size_bytes: int, crc: int) -> None:
        """Raise DataError unless `size_bytes` and `crc` are the archive's, or the plain file is unchanged."""
        if self.crc is None:
            with _opened(self.path) as file:
                modified_ns = os.fstat(file.fileno()).st_mtime_ns
            if (size_bytes, modified_ns) != (self.size_bytes, self.modified_ns):
                raise DataError(
                    self.label, "changed while it was read", "a file that does not change", "Run this again."
                )
        elif (size_bytes, crc) != (self.size_bytes, self.crc):
            raise _damaged(
                self.label,
                f"{size_bytes} bytes with the CRC-32 {crc:08x}",
                f"{self.size_bytes} bytes with {self.crc:08x}, as the archive says",
            )


def find_table(path: str | Path) -> Table:
    """Return the table in the file at `path`, which is a TSV or a zip archive that holds one.

    Raises DataError when it is missing or anything else: an archive with no table or several, an encrypted archive, a
    gzipped file.
    """
    path = Path(path)
    with _opened(path) as file:
        magic, status = file.read(4), os.fstat(file.fileno())
    if magic in (ZIP_MAGIC, EMPTY_ZIP_MAGIC):
        member = _only_table(path)
        label = _label(path, member)
        return Table(path, label, member.file_size, status.st_mtime_ns, status.st_size, member.CRC, member)
    if magic.startswith(GZIP_MAGIC):
        raise DataError(path, "a gzipped file", EXPECTED, "Unpack it with gunzip.")
    if path.suffix.lower() == ".zip":
        raise _damaged(path, f"begins with {magic!r}, unlike any zip archive", EXPECTED)
    return Table(path, str(path), status.st_size, status.st_mtime_ns, status.st_size)


def _only_table(path: Path) -> zipfile.ZipInfo:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except ZIP_DAMAGES as error:
        raise_if_of_the_disk(error, path)
        raise _damaged(path, f"a damaged or truncated zip archive ({error})", EXPECTED) from None
    tables = [member for member in members if member.filename.lower().endswith(".tsv") and not _is_macos(member)]
    if len(tables) != 1:
        names = ", ".join(member.filename for member in (tables or members)[:5]) or "nothing"
        found = f"a zip archive with {len(tables)} .tsv files ({names})"
        raise DataError(path, found, "one .tsv in it", "Give one archive for each table, or the .tsv files themselves.")
    member = tables[0]
    label = _label(path, member)
    if member.flag_bits & ENCRYPTED:
        raise DataError(label, "encrypted", EXPECTED, "Unpack it with its password, and give the .tsv.")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"compressed by method {member.compress_type}"
        raise DataError(label, found, "stored (0) or deflated (8)", "Unpack it, and give the .tsv.")
    return member


def _label(path: Path, member: zipfile.ZipInfo) -> str:
    """Return the name of an archived table for messages, without characters that a terminal may interpret."""
    return f"{path}/" + "".join(letter if letter.isprintable() else "?" for letter in member.filename)


def _is_macos(member: zipfile.ZipInfo) -> bool:
    """Return whether macOS added the member (`__MACOSX/._name`); its name ends like that of a real one."""
    return member.filename.rpartition("/")[2].startswith(".")


def _data_offset(path: Path, file: FileIO, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of `member` begin in the archive."""
    header = b""
    if 0 <= member.header_offset < os.fstat(file.fileno()).st_size:  # a damaged directory may hold any offset
        file.seek(member.header_offset)
        header = file.read(LOCAL_HEADER.size)
    if len(header) == LOCAL_HEADER.size:
        magic, flags, method, n_name, n_extra = LOCAL_HEADER.unpack(header)
        if magic == ZIP_MAGIC and method == member.compress_type and not flags & ENCRYPTED:
            return member.header_offset + LOCAL_HEADER.size + int(n_name) + int(n_extra)
    raise _damaged(path, f"no {member.filename} at byte {member.header_offset}", "what its directory says")


class _PlainReader(Reader):
    """Reads an uncompressed table."""

    def __init__(self, table: Table, file: FileIO, size_bytes: int) -> None:
        self._table, self._file, self._left = table, file, size_bytes

    def read_into(self, view: memoryview) -> int:
        size = self._file.readinto(view[: self._left]) or 0
        if size == 0 and self._left > 0 and len(view) > 0:
            raise _damaged(self._table.label, f"ends {self._left} bytes early", f"{self._table.size_bytes} bytes")
        self._left -= size
        return size


class _InflatingReader(Reader):
    """Reads a deflated table."""

    def __init__(self, table: Table, file: FileIO, compressed_bytes: int) -> None:
        self._table, self._file, self._left = table, file, compressed_bytes
        self._inflater = isal_zlib.decompressobj(wbits=-isal_zlib.MAX_WBITS)

    def read_into(self, view: memoryview) -> int:
        while not self._inflater.eof:
            chunk = self._inflater.unconsumed_tail or self._next_chunk()
            try:
                content = self._inflater.decompress(chunk, min(len(view), INFLATED_CHUNK_BYTES))
            except isal_zlib.error as error:  # type: ignore[misc]  # the stubs declare an instance, not a class
                raise self._damaged(f"cannot be decompressed ({error})") from None
            if content:
                view[: len(content)] = content
                return len(content)
            if not chunk and not self._inflater.eof:
                raise self._damaged("ends in the middle")
        return 0

    def _next_chunk(self) -> bytes:
        chunk = self._file.read(min(COMPRESSED_CHUNK_BYTES, self._left))
        self._left -= len(chunk)
        return chunk

    def _damaged(self, found: str) -> DataError:
        return _damaged(self._table.label, found, "a complete compressed table")


def _opened(path: Path) -> FileIO:
    try:
        return FileIO(path)
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror})", EXPECTED) from None


def _damaged(place: object, found: str, expected: str) -> DataError:
    return DataError(place, found, expected, DOWNLOAD_AGAIN)
