"""A file is what its name says, or the error says what it is instead."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_zips import zip_bytes

from lxmert_tickets.downloads.checks import check_content, opening_fault, page_title
from lxmert_tickets.errors import DataError

Checked = Callable[[str, bytes], None]


@pytest.fixture
def checked(tmp_path: Path) -> Checked:
    """Call `checked(name, content)` to check a file of that content, which must stay unchanged and alone."""

    def call(name: str, content: bytes) -> None:
        (tmp_path / "file").write_bytes(content)
        try:
            check_content(tmp_path / "file", name)
        finally:
            assert [path.read_bytes() for path in tmp_path.iterdir()] == [content]

    return call


def zip_with(name: str, content: bytes = b"x") -> bytes:
    """Return a zip of one member of that name."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return whole.getvalue()


def torch_file(legacy: bool, checksums: bool = True) -> bytes:
    content = io.BytesIO()
    torch.serialization.set_crc32_options(checksums)
    try:
        torch.save({"weight": torch.zeros(3)}, content, _use_new_zipfile_serialization=not legacy)
    finally:
        torch.serialization.set_crc32_options(True)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", zip_bytes(1000)),
        ("a.ZIP", zip_with("folder/..train..tsv")),
        ("a.zip", zip_with("folder/", b"")),
        ("a.json", b' \n{"a": [1, 2.5e3, "\\u00e9", null]}\n'),
        ("a.json", b"[]"),
        ("a.json", b"\xef\xbb\xbf [1]"),
        ("a.pth", torch_file(legacy=True)),
        ("a.pth", torch_file(legacy=False)),
        ("a.pth", torch_file(legacy=False, checksums=False)),
        ("a.txt", "é\n".encode()),
        ("a.tsv", b"anything"),
    ],
)
def test_files_that_are_what_their_names_say_pass(checked: Checked, name: str, content: bytes) -> None:
    checked(name, content)
    other, found = ("a.json", "begins with") if "json" not in name else ("a.zip", "begins with")
    with pytest.raises(DataError, match=f"{found}|is a web page"):
        checked(other, content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", b"", "is empty"),
        ("a.zip", b"not a zip", "begins with b'not a zi'; expected a zip"),
        ("a.zip", b"PK\x03\x04" + bytes(100), "damaged zip"),
        ("a.json", b"hello", "begins with b'hello'; expected JSON"),
        ("a.json", b'{"a": [1, 2', "damaged JSON"),
        ("a.json", b'{"a": 1} and more', "damaged JSON"),
        ("a.json", b"[" * 2_000_000, "nested too deep"),
        ("a.json", b'{"a": ' * 2_000_000, "nested too deep"),
        ("a.json", b'{"a": "\xff"}', "is not text"),
        ("a.pth", b"garbage of some length", "expected weights as torch saves them"),
        ("a.pth", torch_file(legacy=False)[:-30], "damaged zip"),
        ("a.txt", b"\x00\x01\x02", "zero bytes"),
        ("a.txt", b"\xff\xfe", "is not text"),
        ("a.txt", zip_bytes(10), "zero bytes|is not text"),
        ("a.tsv", b"<!DOCTYPE html><title>403</title>", "is a web page"),
        ("a.txt", b"\xef\xbb\xbf \n<HTML>", "is a web page"),
        ("a.txt", b'<?xml version="1.0"?>\n<!-- hello -->\n<!doctype HTML PUBLIC>', "is a web page"),
    ],
)  # fmt: skip
def test_files_that_are_not_what_their_names_say_are_refused(
    checked: Checked, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        checked(name, content)


def test_an_encrypted_member_is_refused(checked: Checked) -> None:
    content = bytearray(zip_with("x"))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match=r"is a damaged zip .*encrypted"):
        checked("a.zip", bytes(content))


def test_the_log_tells_how_much_of_a_zip_has_been_read(checked: Checked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lxmert_tickets")
    checked("a.zip", zip_bytes(3_000_000))
    assert "checking a.zip: 3.0 MB of 3.0 MB" in caplog.text


def test_a_zip_without_members_is_refused(checked: Checked, tmp_path: Path) -> None:
    empty = b"PK\x05\x06" + bytes(18)
    with pytest.raises(DataError, match="begins with"):
        checked("a.zip", empty)
    with pytest.raises(DataError, match="without members"):
        checked("a.zip", zip_with("x")[:31] + empty[:16] + struct.pack("<LH", 31, 0))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_bit_in_the_content_of_a_zip_is_noticed(checked: Checked, data: st.DataObject) -> None:
    content = bytearray(zip_bytes(2000))
    first = content.index(b"train.tsv") + len(b"train.tsv")
    position = data.draw(st.integers(first, first + 1999))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataError, match="damaged zip"):
        checked("a.zip", bytes(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_anywhere_gives_an_error_message_however_the_zip_is_compressed(checked: Checked, method: int) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.writestr("train.tsv", bytes(range(50)))
    n_told = 0
    for position in range(4, len(whole.getvalue())):
        content = bytearray(whole.getvalue())
        content[position] ^= 0xFF
        try:
            checked("a.zip", bytes(content))
        except DataError:  # anything else is a traceback
            n_told += 1
    assert n_told > 50  # all bytes of the content, and more


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 2100))
def test_a_zip_truncated_anywhere_is_refused(checked: Checked, n_cut: int) -> None:
    with pytest.raises(DataError):
        checked("a.zip", zip_bytes(2000)[:-n_cut])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_whole_json_passes_and_truncated_json_is_refused(checked: Checked, value: object) -> None:
    text = json.dumps([value], ensure_ascii=False).encode()
    checked("a.json", text)
    with pytest.raises(DataError):
        checked("a.json", text[:-1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["a.zip", "a.json", "a.pth", "a.txt", "a"]), st.binary(), st.sampled_from([b"", b"PK\x03\x04"]))
def test_arbitrary_bytes_pass_or_are_refused_with_an_error_message(
    checked: Checked, name: str, rest: bytes, magic: bytes
) -> None:
    content, refused = magic + rest, None
    try:
        checked(name, content)
    except DataError as error:
        refused = error
    if refused is not None:
        assert refused.found
        assert refused.expected
    elif name == "a.zip":
        assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    elif name == "a.json":
        assert isinstance(json.loads(content), dict | list)
    elif name == "a.txt":
        assert "\0" not in content.decode()
    else:
        assert content


def test_a_web_page_is_recognised_by_its_type_or_by_its_beginning() -> None:
    assert opening_fault("a.txt", b"Sorry", "text/html; charset=utf-8") is not None
    assert opening_fault("a.txt", b"Sorry", "text/plain") is None
    assert opening_fault("a.txt", b"<html>", "text/plain") is not None


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<title>Not\n  found</title>", ' with the title "Not found"'),
        (b'<TITLE lang="en">A &amp; B</TITLE>', ' with the title "A & B"'),
        (b"<title>cut", ' with the title "cut"'),
        (b"<title>\x1b[31mred</title>", ' with the title "[31mred"'),
        (b"<title>Caf\xe9</title>", ' with the title "Caf\ufffd"'),
        (b"<title></title>", ""),
        (b"<h1>none</h1>", ""),
    ],
)
def test_the_title_of_a_page_is_shown_in_printable_characters(page: bytes, title: str) -> None:
    assert page_title(page) == title
