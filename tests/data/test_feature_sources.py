"""Plain and zipped tables read alike; damaged, encrypted and ambiguous archives are refused before anything is kept."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from feature_tables import write_tsv, zipped
from hypothesis import given
from hypothesis import strategies as st

from lxmert_tickets.data import feature_conversion
from lxmert_tickets.data.feature_conversion import convert_features
from lxmert_tickets.data.feature_sources import find_table
from lxmert_tickets.errors import DataError
from lxmert_tickets.progress import Progress

CONTENT = b"".join(b"%d some text\n" % number for number in range(500))


def read(path: Path, start: int = 0, sizes: tuple[int, ...] = (1000,)) -> bytes:
    content, buffer, turn = b"", memoryview(bytearray(1 << 21)), 0
    with find_table(path).opened(start) as reader:
        while size := reader.read_into(buffer[: sizes[turn % len(sizes)]]):
            content += bytes(buffer[:size])
            turn += 1
    return content


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    (tmp_path / "a.tsv").write_bytes(CONTENT)
    return tmp_path / "a.tsv"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_table_reads_the_same_zipped_or_not(tmp_path: Path, tsv: Path, method: int) -> None:
    archive = zipped(tsv, tmp_path / "a.zip", method=method)
    assert read(archive) == read(tsv) == CONTENT
    assert find_table(archive).size_bytes == find_table(tsv).size_bytes == len(CONTENT)
    assert find_table(archive).label == f"{archive}/a.tsv"


@given(
    content=st.binary(max_size=2000).flatmap(lambda piece: st.integers(1, 400).map(lambda times: piece * times)),
    sizes=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=4),
)
def test_any_deflated_content_is_inflated_exactly(tmp_path_factory, content: bytes, sizes: list[int]) -> None:
    folder = tmp_path_factory.mktemp("zips")
    (folder / "a.tsv").write_bytes(content)
    assert read(zipped(folder / "a.tsv", folder / "a.zip"), sizes=tuple(size + 99 for size in sizes)) == content


def test_seekable_tables_can_be_read_from_any_position(tmp_path: Path, tsv: Path) -> None:
    stored = zipped(tsv, tmp_path / "s.zip", method=zipfile.ZIP_STORED)
    assert read(stored, 1234) == read(tsv, 1234) == CONTENT[1234:]
    assert find_table(stored).can_seek
    assert not find_table(zipped(tsv, tmp_path / "d.zip")).can_seek


def test_other_files_beside_the_table_do_not_matter(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "hello")
        archive.writestr("data/mscoco/A.TSV", CONTENT)
        archive.writestr("__MACOSX/data/mscoco/._A.TSV", b"\0\1")
        archive.writestr("data/mscoco/._A.tsv", b"\0\1")
        archive.mkdir("empty.tsv.folder")
    assert read(tmp_path / "a.zip") == CONTENT


def test_zip64_is_read(tmp_path: Path) -> None:
    with (
        zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.tsv", "w", force_zip64=True) as member,
    ):
        member.write(CONTENT)
    assert read(tmp_path / "a.zip") == CONTENT


def test_a_member_of_more_than_4_gb_has_its_true_size(tmp_path: Path) -> None:
    sparse = tmp_path / "large.zip"
    with zipfile.ZipFile(sparse, "w") as archive:
        info = zipfile.ZipInfo("large.tsv")
        info.file_size = info.compress_size = 5 << 30
        with archive.open(info, "w", force_zip64=True) as member:
            member.write(b"start\n")
    content = bytearray(sparse.read_bytes())
    end = struct.pack("<LL", 0xFFFFFFFF, 0xFFFFFFFF)
    at = content.rindex(b"PK\x01\x02")
    extra = struct.pack("<HHQQ", 1, 16, 5 << 30, 5 << 30)
    content[at + 20 : at + 28] = end
    content[at + 30 : at + 32] = struct.pack("<H", len(extra))
    name_end = at + 46 + len("large.tsv")
    content[name_end:name_end] = extra
    last = content.rindex(b"PK\x05\x06")
    content[last + 12 : last + 16] = struct.pack("<L", last - at)
    sparse.write_bytes(content)
    assert find_table(sparse).size_bytes == 5 << 30


def test_a_member_name_that_points_outside_the_folder_is_only_a_label(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    tsv = write_tsv(tmp_path / "inner" / "a.tsv", ["A"])
    for name in ("../../evil.tsv", "/tmp/evil.tsv", "a\x1b[31m\n.tsv"):
        archive = zipped(tsv, tmp_path / "inner" / "a.zip", name=name)
        convert_features([archive], tmp_path / "inner" / "f.h5", metadata={})
        assert {path.name for path in tmp_path.rglob("*")} == {"inner", "a.tsv", "a.zip", "f.h5"}
    assert find_table(archive).label.endswith("a.zip/a?[31m?.tsv")


def members(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"x\n")

    return write


def encrypted(path: Path) -> None:
    members("a.tsv")(path)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flags in the member's header and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


def compressed_by(method: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a.tsv", b"x\n")

    return write


def cut_short(path: Path) -> None:
    members("a.tsv")(path)
    path.write_bytes(path.read_bytes()[:-30])


def header_elsewhere(path: Path) -> None:
    members("a.tsv")(path)
    path.write_bytes(path.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05", 1))


@pytest.mark.parametrize(
    ("write", "found"),
    [
        (members("a.tsv", "b.tsv"), r"a zip archive with 2 \.tsv files \(a\.tsv, b\.tsv\); expected one \.tsv"),
        (members("a.json"), r"a zip archive with 0 \.tsv files \(a\.json\)"),
        (members(), r"a zip archive with 0 \.tsv files \(nothing\)"),
        (encrypted, r"a\.zip/a\.tsv: encrypted"),
        (compressed_by(zipfile.ZIP_BZIP2), "compressed by method 12; expected stored"),
        (cut_short, "a damaged or truncated zip archive"),
        (header_elsewhere, r"begins with b'PK\\x03\\x05'"),
        (lambda path: path.write_text("<!DOCTYPE html>"), "begins with b'<!DO', unlike any zip archive"),
        (lambda path: path.mkdir(), "cannot be read"),
    ],
)
def test_an_archive_that_is_not_one_readable_table_is_refused_by_name(
    tmp_path: Path, write: Callable[[Path], None], found: str
) -> None:
    write(tmp_path / "a.zip")
    with pytest.raises(DataError, match=found):
        find_table(tmp_path / "a.zip")


@pytest.mark.parametrize(
    ("record", "field", "value", "found"),
    [
        (b"PK\x01\x02", 42, 5, "byte 5"),  # where the member begins
        (b"PK\x01\x02", 42, 2**32 - 2, "byte 4294967294"),
        (b"PK\x05\x06", 16, 2**31, "byte -"),  # where the directory begins; that position is counted from here
    ],
)
def test_a_zip_directory_with_wrong_positions_is_refused(
    tmp_path: Path, tsv: Path, record: bytes, field: int, value: int, found: str
) -> None:
    archive = zipped(tsv, tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    at = content.rindex(record) + field
    content[at : at + 4] = struct.pack("<L", value)
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"no a\.tsv at {found}"):
        read(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("workers", [1, 2])
def test_any_damage_within_an_archive_stops_the_conversion_and_leaves_no_output(
    tmp_path: Path, method: int, workers: int
) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", [f"IMAGE_{index}" for index in range(60)])
    archive = zipped(tsv, tmp_path / "a.zip", method=method)
    whole = archive.read_bytes()
    data = range(50, whole.index(b"PK\x01\x02"))
    for place in data[:: len(data) // 9]:
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(DataError, match=r"a\.zip/a\.tsv: .*Download it again"):
            convert_features([archive], tmp_path / "f.h5", metadata={}, workers=workers, block_bytes=2000)
        assert {path.name for path in tmp_path.iterdir()} == {"a.tsv", "a.zip"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_row_that_damage_made_bad_is_reported_as_damage(tmp_path: Path, monkeypatch, workers: int) -> None:
    monkeypatch.setattr(feature_conversion, "SEARCH_BYTES", 500)  # the first row is found before the table ends
    tsv = write_tsv(tmp_path / "a.tsv", [f"IMAGE_{index}" for index in range(60)])
    archive = zipped(tsv, tmp_path / "a.zip", method=zipfile.ZIP_STORED)
    whole = archive.read_bytes()
    archive.write_bytes(whole.replace(b"IMAGE_5\t", b"IMAGE_5\n"))
    with pytest.raises(DataError, match=r"a\.zip/a\.tsv: .* with the CRC-32"):
        convert_features([archive], tmp_path / "f.h5", metadata={}, workers=workers, block_bytes=500)
    tsv.write_bytes(tsv.read_bytes().replace(b"IMAGE_5\t", b"IMAGE_5\n"))
    zipped(tsv, archive, method=zipfile.ZIP_STORED)
    with pytest.raises(DataError, match=r"a\.zip/a\.tsv:6: 1 columns"):
        convert_features([archive], tmp_path / "f.h5", metadata={}, workers=workers, block_bytes=500)


def test_a_deflated_table_that_ends_early_is_refused_as_damaged(tmp_path: Path, tsv: Path) -> None:
    archive = zipped(tsv, tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    (size,) = struct.unpack_from("<L", content, at + 20)
    struct.pack_into("<L", content, at + 20, size - 10)
    archive.write_bytes(content)
    with pytest.raises(DataError, match="ends in the middle"):
        read(archive)


def test_a_file_that_shrinks_or_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tsv = write_tsv(tmp_path / "a.tsv", [f"I{index}" for index in range(20)])
    whole = tsv.read_bytes()

    monkeypatch.setattr(Progress, "advance", lambda *_: tsv.write_bytes(whole[:-50]))  # after the first block
    with pytest.raises(DataError, match=r"ends 50 bytes early|changed while it was read"):
        convert_features([tsv], tmp_path / "f.h5", metadata={}, block_bytes=500, workers=1)
    tsv.write_bytes(whole)
    monkeypatch.setattr(Progress, "advance", lambda *_: tsv.write_bytes(whole + b"more"))
    with pytest.raises(DataError, match="changed while it was read"):
        convert_features([tsv], tmp_path / "f.h5", metadata={}, block_bytes=500, workers=1)
    assert not (tmp_path / "f.h5").exists()
