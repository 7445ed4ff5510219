"""However a table is read, its blocks are its lines, whole and in order."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lxmert_tickets.data.feature_blocks import Block, Position, cut_blocks, line_ends, skip
from lxmert_tickets.data.feature_sources import Reader, Table
from lxmert_tickets.errors import DataError

LONGEST = 64


class InPieces(Reader):
    """Reads as many bytes at a time as `sizes` says, cycling through it."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content, self._sizes = content, sizes

    def read_into(self, view: memoryview) -> int:
        size = self._sizes[0]
        self._sizes = [*self._sizes[1:], size]
        piece, self._content = self._content[: min(size, len(view))], self._content[min(size, len(view)) :]
        view[: len(piece)] = piece
        return len(piece)


def table_of(content: bytes, crc: int | None = None) -> Table:
    return Table(Path("a.zip"), "a.zip/a.tsv", len(content), 0, 0, zlib.crc32(content) if crc is None else crc)


def cut(content: bytes, start: Position, sizes: list[int], block_bytes: int) -> list[tuple[bytes, Block]]:
    buffers = [memoryview(bytearray(LONGEST)) for _ in range(2)]

    def next_buffer() -> memoryview:
        buffers.reverse()
        return buffers[0]

    reader = InPieces(content[start.offset :], sizes)
    blocks = cut_blocks(table_of(content), reader, start, next_buffer, block_bytes)
    return [(bytes(block.view[: block.size_bytes]), block) for block in blocks]


tables = st.lists(st.binary(max_size=LONGEST // 2).map(lambda line: line.replace(b"\n", b"")), max_size=12).flatmap(
    lambda lines: st.sampled_from([b"\n".join(lines), b"".join(line + b"\r\n" for line in lines)])
)
piece_sizes = st.lists(st.integers(1, LONGEST), min_size=1, max_size=5)


@given(content=tables, sizes=piece_sizes, block_bytes=st.integers(1, LONGEST))
@example(content=b"", sizes=[1], block_bytes=1)
@example(content=b"\n\n", sizes=[1], block_bytes=1)
@example(content=b"a\nb", sizes=[64], block_bytes=64)
@example(content=b"a\r\nb\r\n", sizes=[2], block_bytes=2)
def test_blocks_are_the_lines_in_order_wherever_a_read_ends(content: bytes, sizes: list[int], block_bytes: int):
    found = cut(content, Position(), sizes, block_bytes)
    assert b"".join(block for block, _ in found) == content
    lines = content.splitlines(keepends=True) if b"\r" not in content.replace(b"\r\n", b"") else None
    before = Position()
    for text, block in found:
        assert block.start == before
        assert block.n_lines == text.count(b"\n") + (not text.endswith(b"\n"))
        assert block.size_bytes == len(text) > 0
        assert block.end.crc == zlib.crc32(content[: block.end.offset])
        assert text.endswith(b"\n") or block is found[-1][1]
        before = block.end
    if lines is not None and content:
        assert before.lines == len(content.split(b"\n")) - content.endswith(b"\n")


@given(content=tables, sizes=piece_sizes, block_bytes=st.integers(1, LONGEST), first=st.integers(0, 20))
def test_cutting_can_resume_after_any_block(content, sizes, block_bytes, first) -> None:
    whole = cut(content, Position(), sizes, block_bytes)
    if not whole:
        return
    end = whole[first % len(whole)][1].end
    rest = cut(content, end, sizes, block_bytes)
    assert b"".join(text for text, _ in rest) == content[end.offset :]
    last = rest[-1][1].end if rest else end
    assert last == whole[-1][1].end


@given(content=st.binary(max_size=200).map(lambda text: text.replace(b"\0", b"\n")))
def test_line_ends_are_the_positions_after_newlines(content: bytes) -> None:
    assert line_ends(memoryview(content)).tolist() == [k + 1 for k, byte in enumerate(content) if byte == ord("\n")]


def test_line_ends_are_found_across_all_pieces_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lxmert_tickets.data.feature_blocks.SEARCH_BYTES", 3)
    assert line_ends(memoryview(b"ab\n\ncd\ne\n")).tolist() == [3, 4, 7, 9]
    assert line_ends(memoryview(b"")).dtype == np.intp


def test_a_line_that_fills_a_buffer_is_accepted_and_a_longer_one_refused_with_its_place() -> None:
    fits = b"a\n" + b"x" * (LONGEST - 1) + b"\n"
    assert len(cut(fits, Position(), [10], 5)) == 2
    with pytest.raises(DataError, match=r"a\.zip/a\.tsv:2: a line of more than 64 bytes"):
        cut(b"a\n" + b"x" * LONGEST + b"\n", Position(), [10], 5)


@pytest.mark.parametrize("content", [b"a\nb\n", b"a\nb", b"a\n", b""])
def test_a_checksum_mismatch_is_refused_at_the_end(content: bytes) -> None:
    blocks = cut_blocks(
        table_of(content, crc=1), InPieces(content, [1]), Position(), lambda: memoryview(bytearray(64)), 1
    )
    with pytest.raises(DataError, match=r"a\.zip/a\.tsv: .* with the CRC-32"):
        list(blocks)


def test_skipping_returns_the_checksum_of_the_skipped_bytes() -> None:
    reader = InPieces(b"0123456789", [3])
    assert skip(reader, 7, memoryview(bytearray(4))) == zlib.crc32(b"0123456")
    assert skip(reader, 100, memoryview(bytearray(4))) == zlib.crc32(b"789")
