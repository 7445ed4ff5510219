"""Convert tables of region features to one HDF5 file: streamed, on several cores, resuming after a kill."""

import logging
import mmap
import os
import shutil
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from lxmert_tickets.artifacts import Metadata, put_in_place
from lxmert_tickets.data import feature_blocks
from lxmert_tickets.data.feature_blocks import BLOCK_BYTES, SEARCH_BYTES, Block, Position, cut_blocks, line_ends, skip
from lxmert_tickets.data.feature_decoding import BlockTask, DecodedBlock
from lxmert_tickets.data.feature_journal import Journal, Record, working_folder
from lxmert_tickets.data.feature_layout import FeatureLayout
from lxmert_tickets.data.feature_sources import Table, find_table
from lxmert_tickets.data.feature_tsv import FeatureRow, parse_feature_row
from lxmert_tickets.data.feature_workers import Decoders, decoding
from lxmert_tickets.environment import available_cores
from lxmert_tickets.errors import DOWNLOAD_AGAIN, FULL_DISK, ArtifactError, DataError, counted
from lxmert_tickets.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConversionReport:
    """What was converted, and the rounding errors of half precision.

    `max_relative_error` is |stored - given| / max(|given|, 2^-14), since smaller numbers have only
    absolute precision; it cannot exceed 2^-11.
    """

    n_images: int
    n_regions: int
    feature_dim: int
    size_bytes: int
    max_absolute_error: float
    max_relative_error: float

    def __str__(self) -> str:
        return (
            f"{counted(self.n_images, 'image')}, {counted(self.n_regions, 'region')} of {self.feature_dim} values, "
            f"{self.size_bytes:,} bytes; rounding to float16 is off by at most {self.max_absolute_error:.3g}, "
            f"or {100 * self.max_relative_error:.3g} %"
        )


def convert_features(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    metadata: Metadata,
    workers: int | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> ConversionReport:
    """Write the images of LXMERT's 10-column TSV files to one HDF5 file at `output`, and return what was converted.

    Each of `paths` is a TSV or a zip archive containing one, which is streamed in blocks of about `block_bytes`. Every
    row is checked; all must have the shape of the first. `workers` processes decode (None: one per core), at most 8,
    and memory use grows with the number of images only by their names. The file has `features` float16 (n, regions,
    dim), contiguous and uncompressed, `boxes` float32 (n, regions, 4) as fractions of width and height, `size` int32
    (n, 2), height and width, and `image_id`; its bytes depend only on the rows and `metadata`.

    Finished blocks are kept beside `output`, and a killed conversion resumes after the last of them.

    Raises DataError with "file:line" for a row that breaks the format, overflows float16, differs in shape from the
    first, or repeats an image of any of the files; also for a damaged archive, and when `output` is one of `paths`.
    Raises ArtifactError when another process is converting to `output`, or the disk is full. In each case
    `output` is left unchanged.
    """
    if os.path.realpath(output) in map(os.path.realpath, paths):
        raise DataError(output, "is one of the tables to convert", "a file of its own", "Name another output.")
    tables = [find_table(path) for path in paths]
    if empty := [table.label for table in tables if not table.size_bytes]:
        raise DataError(empty[0], "no rows", "one image a line", DOWNLOAD_AGAIN)
    output = Path(output)
    try:
        with working_folder(output) as folder:
            conversion = _Conversion(tables, folder, metadata, block_bytes)
            conversion.run(workers or available_cores())
            report = conversion.finish()
            put_in_place(conversion.journal.features_path, output)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        remedy = "Free some disk space and run this again: it resumes where it stopped."
        raise ArtifactError(output, f"cannot be written ({error.strerror})", "free disk space", remedy) from None
    return report


class _Conversion:
    """A conversion in progress: which blocks are done, in this run or an earlier one."""

    def __init__(self, tables: list[Table], folder: Path, metadata: Metadata, block_bytes: int) -> None:
        self.tables, self.folder, self.metadata, self.block_bytes = tables, folder, metadata, block_bytes
        first, line_bytes = _first_row(tables[0])
        n_regions, feature_dim = first.features.shape
        self.layout = FeatureLayout(metadata, n_regions, feature_dim, folder / "layout.h5")
        self.offset = self.layout.features_offset()
        self.journal = Journal(folder, self.offset, self.layout.image_bytes)
        self.bytes_before = list(accumulate((table.size_bytes for table in tables), initial=0))
        self.table_index, self.position = 0, Position()
        self.first_rows = [0]  # of each table begun so far
        self.row_of: dict[str, int] = {}
        self.max_absolute_error = self.max_relative_error = 0.0
        self._restore()
        self._check_room(line_bytes)

    def run(self, n_workers: int) -> None:
        """Decode the remaining blocks."""
        n_workers = min(n_workers, -(-self.bytes_before[-1] // self.block_bytes))
        with (
            open(self.journal.features_path, "rb+") as features,
            self.journal.appending() as append,
            decoding(n_workers, features.fileno(), feature_blocks.MAX_LINE_BYTES) as decoders,
            Progress("features", self.bytes_before[-1], "B", initial=self._bytes_done) as progress,
        ):
            submitted: deque[tuple[int, Position]] = deque()
            n_rows = len(self.row_of)
            for index in range(self.table_index, len(self.tables)):
                blocks = self._blocks(index, decoders)
                for block in blocks:
                    decoders.submit(self._task(index, block, n_rows))
                    submitted.append((index, block.end))
                    n_rows += block.n_lines
                    self._take(decoders.finished(), submitted, append, progress, blocks)
            self._take(decoders.finished(wait=True), submitted, append, progress, iter(()))

    def finish(self) -> ConversionReport:
        """Complete the file, which already holds the features, and return what was converted."""
        blocks = (record.block for record in self.journal.records())
        size_bytes = self.layout.complete(self.journal.features_path, self.row_of, blocks)
        shape = len(self.row_of), self.layout.n_regions, self.layout.feature_dim
        return ConversionReport(*shape, size_bytes, self.max_absolute_error, self.max_relative_error)

    def _restore(self) -> None:
        about = {
            "tables": [table.identity for table in self.tables],
            "shape": [self.layout.n_regions, self.layout.feature_dim],
            "metadata": self.metadata,
        }
        for record in self.journal.start(about):
            self._account(record)
        if self.row_of:
            log.info("%s: resumes after the %d images already done", self.folder, len(self.row_of))

    def _check_room(self, line_bytes: int) -> None:
        """Raise ArtifactError if the disk has no room for the remaining features, estimated from the first line."""
        needed = (self.bytes_before[-1] - self._bytes_done) // line_bytes * self.layout.image_bytes
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ArtifactError(
                self.folder, f"{free} bytes are free", f"{needed} bytes, for the features", "Make room."
            )

    def _blocks(self, index: int, decoders: Decoders) -> Iterator[Block]:
        """Yield the blocks of a table that are not done yet."""
        table = self.tables[index]
        start = self.position if index == self.table_index else Position()
        if start.offset == table.size_bytes:
            table.check_end(start.offset, start.crc)
            return
        with table.opened(start.offset if table.can_seek else 0) as reader:
            if start.offset and not table.can_seek:
                log.info("%s: decompressing again, up to byte %d of %d", table.label, start.offset, table.size_bytes)
                if skip(reader, start.offset, decoders.next_buffer()) != start.crc:
                    raise DataError(
                        table.label, "changed since it was read", "a file that does not change", "Run this again."
                    )
            yield from cut_blocks(table, reader, start, decoders.next_buffer, self.block_bytes)

    def _task(self, index: int, block: Block, row: int) -> BlockTask:
        return BlockTask(
            block.size_bytes,
            self.tables[index].label,
            block.start.lines + 1,
            self.layout.n_regions,
            self.layout.feature_dim,
            shape_from=f"{self.tables[0].label}:1",
            offset=self.offset + row * self.layout.image_bytes,
        )

    def _take(
        self,
        decoded: Iterator[DecodedBlock],
        submitted: deque[tuple[int, Position]],
        append: Callable[[Record], None],
        progress: Progress,
        rest: Iterator[Block],
    ) -> None:
        """Check and record the `decoded` blocks; `rest` yields the blocks of the current table not yet read."""
        for block in decoded:
            index, end = submitted.popleft()
            record, done_before = Record(index, end.offset, end.lines, end.crc, block), self._bytes_done
            try:
                self._account(record)
            except DataError:
                if self.tables[index].crc is not None:
                    for _ in rest:  # read to the end: a damaged archive would explain the bad row
                        pass
                raise
            append(record)
            progress.advance(self._bytes_done - done_before)

    def _account(self, record: Record) -> None:
        """Count a block as done; raises DataError for the first row of it that is bad or repeats an earlier image."""
        while self.table_index < record.table_index:
            self.table_index += 1
            self.first_rows.append(len(self.row_of))
        for row, name in enumerate(record.block.image_ids, start=len(self.row_of)):
            if (earlier := self.row_of.setdefault(name, row)) != row:
                found = f"{name} again, after {self._place(earlier)}"
                raise DataError(self._place(row), found, "each image once", "Remove one of the two.")
        if record.block.failure is not None:
            raise DataError(*record.block.failure)
        self.position = Position(record.offset, record.lines, record.crc)
        self.max_absolute_error = max(self.max_absolute_error, record.block.max_absolute_error)
        self.max_relative_error = max(self.max_relative_error, record.block.max_relative_error)

    def _place(self, row: int) -> str:
        """Return "file:line" of a row, as each line is one."""
        table_index = bisect_right(self.first_rows, row) - 1
        return f"{self.tables[table_index].label}:{row - self.first_rows[table_index] + 1}"

    @property
    def _bytes_done(self) -> int:
        return self.bytes_before[self.table_index] + self.position.offset


def _first_row(table: Table) -> tuple[FeatureRow, int]:
    """Return the first image of a table, and the length of its line."""
    buffer = memoryview(mmap.mmap(-1, feature_blocks.MAX_LINE_BYTES))
    with table.opened() as reader:
        block = next(cut_blocks(table, reader, Position(), lambda: buffer, SEARCH_BYTES))
    size = int(next(iter(line_ends(block.view[: block.size_bytes])), block.size_bytes))
    return parse_feature_row(block.view[:size], f"{table.label}:1"), size
