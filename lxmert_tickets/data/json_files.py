"""External JSON files: plain, gzipped, or inside a zip archive; every error names its place.

Nothing is extracted, no path is built from the content of an archive or a file, and sizes are limited before memory is
allocated.
"""

import gzip
import re
import zipfile
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

import msgspec

from lxmert_tickets.errors import DOWNLOAD_AGAIN, NO_ACCESS, DataError, first_few, raise_if_of_the_disk
from lxmert_tickets.file_kinds import EMPTY_ZIP_MAGIC, GZIP_MAGIC, ZIP_DAMAGES, ZIP_MAGIC

Record = TypeVar("Record")

MAX_BYTES = 1 << 30
"""More than any file of VQA v2 unpacked; the largest, the annotations of train2014, has less than half of this."""

TOO_DEEP = "nested deeper than any file of this kind"


class JsonFile:
    """The bytes of one JSON file, and how errors name it: `path`, or `path/member` within a zip archive."""

    def __init__(
        self, path: str | Path, expected: str, subtype: str | None = None, if_damaged: str = DOWNLOAD_AGAIN
    ) -> None:
        """Read `path`; from a zip archive, the only `.json` member, or the one whose name contains `_<subtype>_`.

        Raises DataError when it is missing, damaged, too large, or an archive without exactly one such member.
        """
        self.place, self.expected, self.if_damaged = str(path), expected, if_damaged
        self.content = self._read(Path(path), subtype).removeprefix(BOM_UTF8)  # some editors write one

    def decode(self, kind: Any, remedy: str = "") -> Any:
        """Return the content as the type `kind`.

        Raises DataError, naming line and column, or for a wrong type the path of the value and `remedy`.
        """
        try:
            return msgspec.json.decode(self.content, type=kind)
        except msgspec.ValidationError as error:
            raise wrong_value(self.place, "$", error, self.expected, remedy) from None
        except RecursionError:
            raise DataError(self.place, TOO_DEEP, self.expected, self.if_damaged) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise DataError(
                self._place_of(error), f"not valid JSON ({error})", self.expected, self.if_damaged
            ) from None

    def _read(self, path: Path, subtype: str | None) -> bytes:
        try:
            with open(path, "rb") as handle:
                magic = handle.read(4)
                if magic in (ZIP_MAGIC, EMPTY_ZIP_MAGIC):
                    return self._read_member(path, subtype)
                handle.seek(0)
                if magic.startswith(GZIP_MAGIC):
                    with gzip.GzipFile(fileobj=handle) as unpacked:
                        content = unpacked.read(MAX_BYTES + 1)
                else:
                    content = handle.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise DataError(path, "no such file", self.expected) from None
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno in NO_ACCESS:
                found, expected = f"cannot be read ({error.strerror})", "a file that this user can read"
                raise DataError(path, found, expected) from None
            raise DataError(path, f"cannot be read ({error})", self.expected, self.if_damaged) from None
        if len(content) > MAX_BYTES:
            raise self._too_large(f"over {MAX_BYTES:,} bytes")
        return content

    def _read_member(self, path: Path, subtype: str | None) -> bytes:
        try:
            with zipfile.ZipFile(path) as archive:
                member = self._member(archive, subtype)
                self.place = f"{path}/{shown_name(member.filename)}"
                if member.file_size > MAX_BYTES:
                    raise self._too_large(f"{member.file_size:,} bytes unpacked")
                return archive.read(member)  # at most the declared size; a false one fails the checksum
        except ZIP_DAMAGES as error:
            raise_if_of_the_disk(error, path)
            raise DataError(self.place, f"cannot be read ({error})", self.expected, self.if_damaged) from None

    def _member(self, archive: zipfile.ZipFile, subtype: str | None) -> zipfile.ZipInfo:
        present = [member for member in archive.infolist() if _is_json(member)]
        chosen = [member for member in present if subtype is None or f"_{subtype}_" in _base(member)]
        if len(chosen) == 1:
            return chosen[0]
        names = first_few([shown_name(member.filename) for member in present or archive.infolist()])
        wanted = f"one .json file with _{subtype}_ in its name" if subtype else "one .json file"
        found = f"a zip archive with {len(chosen)} {'fitting ' if subtype else ''}.json files ({names or 'nothing'})"
        remedy = "Take the archive of this part." if subtype else "State which part: train2014, val2014, test2015."
        raise DataError(self.place, found, f"{wanted}: {self.expected}", remedy)

    def _too_large(self, found: str) -> DataError:
        return DataError(self.place, found, f"{self.expected}, of at most {MAX_BYTES:,} bytes", self.if_damaged)

    def _place_of(self, error: Exception) -> str:
        """Return "file:line:column"; a truncated file ends at its last line."""
        lines = self.content[: self._bad_byte(error)].split(b"\n")
        return f"{self.place}:{len(lines)}:{len(lines[-1]) + 1}"

    def _bad_byte(self, error: Exception) -> int:
        """Return where decoding failed: the byte that the error names, the first that is not UTF-8, or the end."""
        if told := re.search(r"\(byte (\d+)\)", str(error)):
            return int(told[1])
        try:
            self.content.decode()
        except UnicodeDecodeError as first:
            return first.start
        return len(self.content)


class Records(Generic[Record]):
    """The records of one list in a JSON file, decoded one at a time on every iteration.

    As objects, the annotations of VQA v2 take several times the memory of their file; here only those in use do.
    Iterating raises DataError, naming the path of the value, for an invalid record.
    """

    def __init__(self, file: JsonFile, raw: Sequence[msgspec.Raw], path: str, kind: Any, remedy: str = "") -> None:
        """`raw` are the records of the list at `path`, such as "$.annotations"; `kind` is their type."""
        self.place = file.place
        self._raw, self._path, self._expected, self._remedy = raw, path, file.expected, remedy
        self._decoder = msgspec.json.Decoder(kind)

    def __len__(self) -> int:
        return len(self._raw)

    def __iter__(self) -> Iterator[Record]:
        decode = self._decoder.decode
        for position, raw in enumerate(self._raw):
            try:
                record = decode(raw)
            except msgspec.ValidationError as error:
                raise wrong_value(self.place, self._at(position), error, self._expected, self._remedy) from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                where = f"{self.place} at {self._at(position)}"
                raise DataError(where, f"not valid JSON ({error})", self._expected, DOWNLOAD_AGAIN) from None
            yield record

    def error(self, position: int, found: str, expected: str, remedy: str = "") -> DataError:
        """Return the error that names the record at `position`."""
        return DataError(f"{self.place} at {self._at(position)}", found, expected, remedy)

    def _at(self, position: int) -> str:
        return f"{self._path}[{position}]"


def read_json(path: str | Path, kind: Any, expected: str, remedy: str = "", if_damaged: str = DOWNLOAD_AGAIN) -> Any:
    """Return what the JSON file at `path` holds, plain, gzipped or alone in a zip archive, as the type `kind`.

    Raises DataError as `JsonFile` does, stating `expected`, with `remedy` for a wrong type and `if_damaged` for an
    unreadable file.
    """
    return JsonFile(path, expected, if_damaged=if_damaged).decode(kind, remedy)


def wrong_value(place: str, root: str, error: msgspec.ValidationError, expected: str, remedy: str) -> DataError:
    """Return the error for a value of the wrong type, below `root` in the file at `place`."""
    message, _, where = str(error).partition(" - at ")
    return DataError(f"{place} at {root}{where.strip('`').removeprefix('$')}", message, expected, remedy)


def shown_name(name: str) -> str:
    """Return an external name as one printable line of at most 100 characters, for messages only."""
    printable = "".join(letter if letter.isprintable() else "?" for letter in name)
    return printable if len(printable) <= 100 else f"{printable[:99]}…"


def _base(member: zipfile.ZipInfo) -> str:
    return PurePosixPath(member.filename).name


def _is_json(member: zipfile.ZipInfo) -> bool:
    """Return whether a member is a JSON file, and not one of the resource forks that macOS adds (`__MACOSX/._name`)."""
    return member.filename.lower().endswith(".json") and not _base(member).startswith(".")
