"""Blocks of whole lines, cut from a table as it is read, into a few reused buffers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from isal import isal_zlib

from lxmert_tickets.data.feature_sources import Reader, Table
from lxmert_tickets.errors import DataError

BLOCK_BYTES = 8 << 20
"""About twenty images: 12 ms to decode."""

MAX_LINE_BYTES = 1 << 26
"""A hundred regions of 2048 numbers take 1.1 MB: a line of 64 MB belongs to something else."""

SEARCH_BYTES = 1 << 18
"""How much is searched for line ends at a time: it fits in the processor's cache."""


@dataclass(frozen=True)
class Position:
    """How far a table has been read: `crc` is the CRC-32 of its first `offset` bytes, which are `lines` whole lines."""

    offset: int = 0
    lines: int = 0
    crc: int = 0


@dataclass(frozen=True)
class Block:
    """The whole lines of a table between two positions, in the first `size_bytes` of `view`."""

    start: Position
    end: Position
    view: memoryview = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return self.end.offset - self.start.offset

    @property
    def n_lines(self) -> int:
        return self.end.lines - self.start.lines


def line_ends(view: memoryview) -> np.ndarray:
    """Return the offsets just after each line end in `view`, in order."""
    content = np.frombuffer(view, np.uint8)
    found = [np.zeros(0, np.intp)]
    for start in range(0, len(content), SEARCH_BYTES):
        found.append(np.flatnonzero(content[start : start + SEARCH_BYTES] == ord("\n")) + (start + 1))
    return np.concatenate(found)


def cut_blocks(
    table: Table, reader: Reader, start: Position, next_buffer: Callable[[], memoryview], block_bytes: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Yield the rest of `table`, which `reader` reads from `start` on, in blocks of about `block_bytes`.

    Each block is in its own buffer from `next_buffer`, in which the longest line must fit. A last line without a line
    end counts. At the end, `table.check_end` compares size and checksum.

    Raises DataError for a line that is too long, and when the table is damaged or changed.
    """
    rest = b""
    while True:
        view = next_buffer()
        view[: len(rest)] = rest
        filled, ends, ended = _fill(table, reader, start, view, len(rest), block_bytes)
        size, n_lines = (int(ends[-1]), len(ends)) if len(ends) else (0, 0)
        if ended and filled > size:
            size, n_lines = filled, n_lines + 1
        if n_lines:
            crc = isal_zlib.crc32(view[:size], start.crc)
            end = Position(start.offset + size, start.lines + n_lines, crc)
            if ended:  # before the last block is yielded, so that a damaged one is not
                table.check_end(end.offset, end.crc)
            yield Block(start, end, view)
            start = end
        elif ended:
            table.check_end(start.offset, start.crc)
        if ended:
            return
        rest = bytes(view[size:filled])


def skip(reader: Reader, n_bytes: int, buffer: memoryview) -> int:
    """Read `n_bytes` and return their CRC-32; fewer are read if the table ends first."""
    crc = 0
    while n_bytes > 0 and (size := reader.read_into(buffer[: min(n_bytes, len(buffer))])):
        crc = isal_zlib.crc32(buffer[:size], crc)
        n_bytes -= size
    return crc


def _fill(
    table: Table, reader: Reader, start: Position, view: memoryview, filled: int, block_bytes: int
) -> tuple[int, np.ndarray, bool]:
    """Read until `view` holds `block_bytes` and a line end; return its filled size, line ends, and whether this is all.

    Its first `filled` bytes are already in place, and have no line end.
    """
    ends = np.zeros(0, np.intp)
    while filled < block_bytes or not len(ends):
        if filled == len(view):
            place = f"{table.label}:{start.lines + 1}"
            raise DataError(place, f"a line of more than {len(view)} bytes", "one image a line")
        room = view[filled:][: min(SEARCH_BYTES, block_bytes - filled if filled < block_bytes else block_bytes)]
        size = reader.read_into(room)
        if size == 0:
            return filled, ends, True
        ends = np.concatenate([ends, line_ends(room[:size]) + filled])
        filled += size
    return filled, ends, False
