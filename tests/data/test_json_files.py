"""JSON from outside: archives are read in place, sizes are limited, and any damage gives one readable error."""

import errno
import gzip
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vqa_files import zipped

from lxmert_tickets.data import json_files
from lxmert_tickets.data.json_files import JsonFile, Records, read_json, shown_name
from lxmert_tickets.errors import DataError

JUNK = ["__MACOSX/._v2_mscoco_test2015_questions.json", "._x_test2015_y.json", "questions_test2015_/", "License.txt"]


TEST = "v2_OpenEnded_mscoco_test2015_questions.json"
TEST_DEV = "v2_OpenEnded_mscoco_test-dev2015_questions.json"


@pytest.mark.parametrize(("subtype", "name"), [("test2015", TEST), ("test-dev2015", TEST_DEV)])
def test_the_member_for_the_subtype_is_found_among_others_and_junk(tmp_path: Path, subtype: str, name: str) -> None:
    path = zipped(tmp_path / "Q.zip", *JUNK, TEST_DEV, f"folder/{TEST}")
    assert JsonFile(path, "a name", subtype).decode(str).endswith(name)


def test_a_single_member_is_read_without_naming_a_subtype(tmp_path: Path) -> None:
    assert read_json(zipped(tmp_path / "Q.zip", *JUNK, TEST), str, "a name") == TEST


def test_nothing_is_extracted_and_no_path_is_made_of_a_members_name(tmp_path: Path) -> None:
    name = "../../escaped_val2014_.json"
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    assert JsonFile(zipped(folder / "Q.zip", name), "a name", "val2014").decode(str) == name
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["Q.zip", "a", "b"]


@pytest.mark.parametrize(
    ("names", "subtype", "found"),
    [
        ([TEST, TEST_DEV], None, f"with 2 .json files ({TEST}, {TEST_DEV})"),
        ([TEST], "val2014", f"with 0 fitting .json files ({TEST})"),
        (["v2_trainval2014_questions.json"], "val2014", "with 0 fitting"),
        ([TEST, f"copy/{TEST}"], "test2015", f"with 2 fitting .json files ({TEST}, copy/{TEST})"),
        ([TEST, TEST], "test2015", "with 2 fitting"),
        (["_test2015_/questions.json"], "test2015", "with 0 fitting"),  # a folder's name does not count
        (["License.txt"], None, "with 0 .json files (License.txt)"),
        (["a\nb\x1b[31m.json"], "test2015", "(a?b?[31m.json)"),
        ([f"{number}.json" for number in range(9)], None, "with 9 .json files (0.json, 1.json, "),
        ([], None, "with 0 .json files (nothing)"),
    ],
)
def test_an_archive_without_exactly_one_fitting_member_is_refused_and_listed(
    tmp_path: Path, names: list[str], subtype: str | None, found: str
) -> None:
    with pytest.raises(DataError) as refused:
        JsonFile(zipped(tmp_path / "Q.zip", *names), "questions", subtype)
    assert found in refused.value.found
    assert refused.value.place == str(tmp_path / "Q.zip")
    assert (f"_{subtype}_" in refused.value.expected) == (subtype is not None)
    assert "8.json" not in refused.value.found


def test_a_mistake_within_an_archive_names_archive_and_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "Q.zip", TEST, content={"a": ["x"]})
    with pytest.raises(DataError) as refused:
        read_json(path, dict[str, list[int]], "numbers")
    assert refused.value.place == f"{path}/{TEST} at $[...][0]"


def test_a_member_that_declares_too_many_bytes_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(tmp_path / "bomb.zip", TEST, content="0" * 1000)
    monkeypatch.setattr(json_files, "MAX_BYTES", 1001)
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # so that a call would fail
    with pytest.raises(DataError, match=rf"{TEST}: 1,002 bytes unpacked; .* at most 1,001 bytes"):
        read_json(path, Any, "questions")


def test_a_member_that_declares_fewer_bytes_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "liar.zip", TEST, content="0" * 100_000)
    content = path.read_bytes()
    real, declared = (100_002).to_bytes(4, "little"), (50).to_bytes(4, "little")
    assert content.count(real) == 2  # in the member's header and in the directory
    path.write_bytes(content.replace(real, declared))
    with pytest.raises(DataError, match=r"cannot be read .*CRC"):
        read_json(path, Any, "questions")


@pytest.mark.parametrize("pack", [lambda text: text, gzip.compress])
@pytest.mark.parametrize(("limit", "fits"), [(10, True), (9, False)])
def test_plain_and_gzipped_files_are_read_up_to_the_limit(tmp_path: Path, monkeypatch, pack, limit, fits) -> None:
    monkeypatch.setattr(json_files, "MAX_BYTES", limit)
    (tmp_path / "a.json").write_bytes(pack(b'"01234567"'))
    if fits:
        assert read_json(tmp_path / "a.json", str, "digits") == "01234567"
    else:
        with pytest.raises(DataError, match="over 9 bytes; expected digits, of at most 9 bytes"):
            read_json(tmp_path / "a.json", str, "digits")


def test_a_file_of_another_user_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, _: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(json_files, "open", refused, raising=False)
    with pytest.raises(DataError) as caught:
        read_json(tmp_path / "Q.json", str, "a name")
    assert str(caught.value) == (
        f"{tmp_path}/Q.json: cannot be read (Permission denied); expected a file that this user can read"
    )


def test_a_gzip_bomb_is_not_unpacked_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "MAX_BYTES", 1 << 20)
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(bytes(1 << 26)))
    read = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(original(self, size)) or read[-1])
    with pytest.raises(DataError, match="over 1,048,576 bytes"):
        read_json(tmp_path / "a.json.gz", Any, "questions")
    assert sum(map(len, read)) == (1 << 20) + 1


def test_an_encrypted_member_or_one_of_unknown_compression_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "Q.zip", TEST, method=zipfile.ZIP_STORED)
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    for name, at, value, found in [("locked", 8, 1, "encrypted"), ("strange", 10, 99, "compression method")]:
        changed = bytearray(content)
        changed[directory + at] = value
        changed[at - 2] = value  # the same field in the member's header
        (tmp_path / f"{name}.zip").write_bytes(changed)
        with pytest.raises(DataError, match=f"cannot be read .*{found}"):
            read_json(tmp_path / f"{name}.zip", Any, "questions")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_archive_damaged_anywhere_is_refused_or_reads_as_before(tmp_path: Path, data: st.DataObject) -> None:
    method = data.draw(st.sampled_from([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    content = zipped(tmp_path / "Q.zip", TEST, content=[1, 2, 3] * 20, method=method).read_bytes()
    changed = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 3))):
        if changed:
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "D.zip").write_bytes(changed)
    with suppress(DataError):
        assert read_json(tmp_path / "D.zip", list[int], "numbers") == [1, 2, 3] * 20


def test_a_member_with_damaged_compression_properties_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "Q.zip", TEST, method=zipfile.ZIP_LZMA).read_bytes())
    content[content.index(TEST.encode()) + len(TEST) + 4] ^= 0xFF  # in LZMA's properties
    (tmp_path / "Q.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"{TEST}: cannot be read"):
        read_json(tmp_path / "Q.zip", Any, "questions")


class Record(msgspec.Struct):
    number: int
    text: str = ""


JSON_PIECES = st.sampled_from(
    [b"[", b"]", b"{", b"}", b'"number"', b":", b",", b"1", b"9" * 400, b"1e999", b"-", b'"\\ud800"',
     b'"\xff"', b"[" * 3000,
     b'{"a":' * 3000, b'"text"', b"null", b"true", b"\xef\xbb\xbf", b"\x00", b"NaN", b" "]
)  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(JSON_PIECES, max_size=12).map(b"".join) | st.binary(max_size=40))
def test_any_content_is_read_or_refused_with_a_readable_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    def one_at_a_time(path: Path, kind: Any, expected: str) -> list[Record]:
        file = JsonFile(path, expected)
        return list(Records(file, file.decode(list[msgspec.Raw]), "$", Record))

    ways = [(read_json, kind) for kind in (Record, list[Record], Any, dict[str, int])]
    for read, kind in [*ways, (one_at_a_time, list[Record])]:
        try:
            found, refused = read(path, kind, "records"), None
        except DataError as error:
            refused = error
        if refused is None:
            assert found == msgspec.convert(json.loads(content), kind)
        else:
            assert refused.place.startswith(str(path))
            assert refused.found
            assert refused.expected.startswith("records")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'[{"number": 1}, {"number": "2"}]', r"\$\[1\]\.number: Expected `int`, got `str`"),
        (b'[{"number": 1}, {"text": "2"}]', r"\$\[1\]: Object missing required field `number`"),
        (b'[{"number": 1}, {"number": 2, "text": "\xff"}]', r"\$\[1\]: not valid JSON"),
        (b'[{"number": 1}, 5]', r"\$\[1\]: Expected `object`"),
    ],
)
def test_a_wrong_record_is_refused_when_it_is_reached(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    file = JsonFile(tmp_path / "a.json", "records")
    records: Records[Record] = Records(file, file.decode(list[msgspec.Raw]), "$", Record, "Mend it.")
    turns = iter(records)
    assert next(turns).number == 1
    with pytest.raises(DataError, match=rf"a\.json at {found}"):
        next(turns)


def test_records_can_be_iterated_over_again_and_counted_without_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"number": 1}, {"number": 2}]')
    file = JsonFile(tmp_path / "a.json", "records")
    records: Records[Record] = Records(file, file.decode(list[msgspec.Raw]), "$", Record)
    assert len(records) == 2
    assert [record.number for record in records] == [record.number for record in records] == [1, 2]


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"number": 1}')
    assert read_json(tmp_path / "a.json", Record, "a record").number == 1


def test_long_names_from_outside_are_shortened_in_messages() -> None:
    assert shown_name("a" * 100) == "a" * 100
    assert shown_name("a" * 101) == "a" * 99 + "…"
