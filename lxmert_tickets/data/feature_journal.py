"""The progress of a conversion, in a folder beside its output, so that a killed one can resume.

`.F.h5.partial/` holds `features` (the file that becomes F.h5, its features at their final offsets), `journal` (one
record per block, in order, each with its checksum and that of its features), `about.json` (what is converted, from
what), `layout.h5` (scratch) and `lock`. Nothing in it is trusted: blocks that are truncated or fail their checksum are
converted again.
"""

import logging
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from isal import isal_zlib

from lxmert_tickets.artifacts import canonical_json, write_text
from lxmert_tickets.data.feature_decoding import DecodedBlock
from lxmert_tickets.errors import ArtifactError, DataError
from lxmert_tickets.jobs.locks import alone, remove_with_folder

VERSION = 1
"""Version of the journal and of the output's layout; a conversion of another version is not resumed."""

FRAME = struct.Struct("<II")
"""Precedes each record: its length and its CRC-32."""

CHECKED_BYTES = 1 << 20
log = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True):
    """A finished block, up to byte `offset` and line `lines` of a table; `crc` is the CRC-32 of the bytes so far."""

    table_index: int
    offset: int
    lines: int
    crc: int
    block: DecodedBlock


class Journal:
    """The finished blocks; `features_path` is the file that holds their features, from byte `offset` on."""

    def __init__(self, folder: Path, offset: int, image_bytes: int) -> None:
        self.folder, self.features_path = folder, folder / "features"
        self._path, self._offset, self._image_bytes = folder / "journal", offset, image_bytes

    def start(self, about: Any) -> Iterator[Record]:
        """Yield the blocks finished by an earlier conversion with the same `about`; those of any other are deleted.

        The journal is then truncated after the last of them.
        """
        text = canonical_json({"version": VERSION, "offset": self._offset, "about": about})
        about_path = self.folder / "about.json"
        paths = about_path, self._path, self.features_path
        if not (all(path.exists() for path in paths) and about_path.read_bytes() == text.encode()):
            if self._path.exists():
                log.warning("%s: was made from other input or settings; starting over", self.folder)
            for path in paths:
                path.unlink(missing_ok=True)
            self.features_path.touch()
            self._path.touch()
            write_text(about_path, text)
        if self._path.stat().st_size > 0:
            log.info("%s: comparing what is done with its checksums", self.folder)
        end = 0
        for end, record in self._sound():  # noqa: B007 (the last one counts)
            yield record
        os.truncate(self._path, end)

    @contextmanager
    def appending(self) -> Iterator[Callable[[Record], None]]:
        """Yield a function that appends a record, once the features of its block are written."""
        with FileIO(self._path, "ab") as file:

            def append(record: Record) -> None:
                content = msgspec.msgpack.encode(record)
                file.write(FRAME.pack(len(content), isal_zlib.crc32(content)) + content)

            yield append

    def records(self) -> Iterator[Record]:
        """Yield all records, one at a time."""
        with open(self._path, "rb") as file:
            for content in _frames(file):
                yield msgspec.msgpack.decode(content, type=Record)

    def _sound(self) -> Iterator[tuple[int, Record]]:
        """Yield where each record ends, and the record, up to the first whose features fail their checksum."""
        end, offset = 0, self._offset
        with open(self._path, "rb") as file, open(self.features_path, "rb") as features:
            for content in _frames(file):
                record: Record = msgspec.msgpack.decode(content, type=Record)
                size = len(record.block.image_ids) * self._image_bytes
                if _crc_of(features, offset, size) != record.block.features_crc:
                    return
                end, offset = file.tell(), offset + size
                yield end, record


@contextmanager
def working_folder(output: Path) -> Iterator[Path]:
    """Yield the folder for the conversion to `output`, locked until the block ends.

    It is removed on success and on bad input (DataError), and kept after any other failure.

    Raises ArtifactError when another process holds the lock.
    """
    folder = output.with_name(f".{output.name}.partial")

    def refuse(holder: str) -> None:
        found = f"{holder} is converting features to this file"
        raise ArtifactError(output, found, "one at a time", "Wait until it has ended.")

    lock = folder / "lock"
    with alone(lock, output, "convert to it", refuse):
        try:
            yield folder
        except DataError:
            remove_with_folder(lock)  # the same input would fail again
            raise
        remove_with_folder(lock)


def _frames(file: BinaryIO) -> Iterator[bytes]:
    """Yield the contents of whole frames, up to the first that is truncated or damaged."""
    while len(head := file.read(FRAME.size)) == FRAME.size:
        size, crc = FRAME.unpack(head)
        content = file.read(size)
        if len(content) < size or isal_zlib.crc32(content) != crc:
            return
        yield content


def _crc_of(file: BinaryIO, offset: int, size: int) -> int | None:
    """Return the CRC-32 of `size` bytes from `offset` on; None if the file ends before that."""
    file.seek(offset)
    crc = 0
    while size > 0:
        content = file.read(min(size, CHECKED_BYTES))
        if not content:
            return None
        crc = isal_zlib.crc32(content, crc)
        size -= len(content)
    return crc
